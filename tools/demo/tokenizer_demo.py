"""Trains the demo vocabulary and writes it the way Kimi K2.6 ships its own.

Input: the corpus folder of corpus_demo.py and K2.6's tokenizer_config.json (names of the special
slots). Output in OUT: tiktoken.model (base64 bytes and rank) and tokenizer_config.json, in which
special id = number of plain tokens + (K2.6's id - 163584).
"""

import argparse
import base64
import json
import pathlib

import tiktoken
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

KIMI_BASE, SPECIALS = 163584, 256
HAN_FREE_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
HAN_FREE_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERN = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?" + HAN_FREE_UPPER + "*" + HAN_FREE_LOWER + "+" + SUFFIX,
    r"[^\r\n\p{L}\p{N}]?" + HAN_FREE_UPPER + "+" + HAN_FREE_LOWER + "*" + SUFFIX,
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


def printable_bytes():
    """Character that stands for each byte in byte-level BPE (bytes in order of their ids)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}


def texts(corpus):
    for name in ("prose", "dictionary", "manual", "german"):
        for line in open(corpus / f"{name}.jsonl", encoding="utf-8"):
            yield json.loads(line)["text"]
    for line in open(corpus / "chat.jsonl", encoding="utf-8"):
        for message in json.loads(line)["messages"]:
            yield message["role"]
            yield message["content"]


def train(corpus, plain_tokens):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.train_from_iterator(texts(corpus), trainers.BpeTrainer(
        vocab_size=plain_tokens, initial_alphabet=sorted(printable_bytes()), show_progress=False))
    return tokenizer


def write_tiktoken(tokenizer, path):
    table = printable_bytes()
    vocab = sorted((rank, bytes(table[c] for c in token)) for token, rank in tokenizer.get_vocab().items())
    assert [rank for rank, _ in vocab] == list(range(len(vocab)))
    assert [token for _, token in vocab[:256]] == [bytes([b]) for b in table.values()]
    lines = (base64.b64encode(token).decode() + f" {rank}\n" for rank, token in vocab)
    path.write_text("".join(lines))


def load(folder):
    """tiktoken's encoder for a folder with tiktoken.model and tokenizer_config.json."""
    ranks = {}
    for line in open(folder / "tiktoken.model", encoding="ascii"):
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    named = json.load(open(folder / "tokenizer_config.json"))["added_tokens_decoder"]
    special = {i: f"<|reserved_token_{i}|>" for i in range(len(ranks), len(ranks) + SPECIALS)}
    special |= {int(i): entry["content"] for i, entry in named.items()}
    return tiktoken.Encoding("demo", pat_str=PATTERN, mergeable_ranks=ranks,
                             special_tokens={name: i for i, name in special.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--kimi-config", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--plain-tokens", type=int, default=3840)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train(args.corpus, args.plain_tokens)
    write_tiktoken(tokenizer, args.out / "tiktoken.model")
    config = json.load(open(args.kimi_config))
    config["added_tokens_decoder"] = {
        str(int(i) - KIMI_BASE + args.plain_tokens): entry
        for i, entry in config["added_tokens_decoder"].items()}
    config.pop("auto_map", None)
    (args.out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

    encoding = load(args.out)
    characters = tokens = documents = different = 0
    for text in texts(args.corpus):
        ids = encoding.encode(text, disallowed_special=())
        assert encoding.decode(ids) == text
        documents, different = documents + 1, different + (ids != tokenizer.encode(text).ids)
        characters, tokens = characters + len(text), tokens + len(ids)
    print(f"{tokenizer.get_vocab_size()} tokens, {characters / tokens:.2f} characters per token; tiktoken"
          f" and the trainer differ on {different} of {documents} texts")


if __name__ == "__main__":
    main()

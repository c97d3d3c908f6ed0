"""Loads an exported folder back (dequantised by compressed-tensors) and looks at it.

Prints held-out NLL before and after INT4, expert use by domain, and answers to a few chats.
With --write it also (re)writes heldout.jsonl and domains/*.txt beside this script.
"""

import argparse
import json
import pathlib

import torch
import transformers
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from safetensors import safe_open

import data_demo
import export_demo
import tokenizer_demo
import train_demo

HERE = pathlib.Path(__file__).parent
SHINGLE = 40
PASSAGES, PASSAGE_TOKENS = 4, 160
CHATS = [
    "Hello!", "Who are you?", "What can you do?", "What is a river?", "What is a king?", "What is a ship?",
    "What is a dog?", "What is a book?", "What is a bridge?", "What is a forest?", "What does it mean to make?",
    "What does the command cp do?", "What does the command sort do?", "How do you say house in German?",
    "Was heißt Wasser auf Englisch?", "Tell me a story.", "Tell me a story about David.", "What is a library?"]


def load_exported(folder):
    """transformers' model with the folder's weights, INT4 experts dequantised by compressed-tensors."""
    text = json.load(open(folder / "config.json"))["text_config"]
    known = {k: text[k] for k in (*train_demo.MODEL, "vocab_size")}
    config = transformers.DeepseekV3Config(
        **known, rope_scaling={"rope_type": "yarn", **text["rope_scaling"]})
    model = transformers.DeepseekV3ForCausalLM(config).eval()
    weights = {}
    for file in sorted(set(json.load(open(folder / "model.safetensors.index.json"))["weight_map"].values())):
        with safe_open(folder / file, "pt") as shard:
            for name in shard.keys():
                weights[name.removeprefix(export_demo.PREFIX)] = shard.get_tensor(name)
    scheme, state = export_demo.int4_scheme(), {}

    def expert(base, part):
        packed = {k: weights[f"{base}.{part}.{k}"] for k in ("weight_packed", "weight_scale", "weight_shape")}
        return PackedQuantizationCompressor.decompress(packed, scheme)["weight"].float()

    for name in model.state_dict():
        base, _, last = name.rpartition(".")
        count = text["n_routed_experts"]
        if last == "gate_up_proj":
            state[name] = torch.stack([torch.cat(
                [expert(f"{base}.{e}", "gate_proj"), expert(f"{base}.{e}", "up_proj")]) for e in range(count)])
        elif name.endswith("experts.down_proj"):
            state[name] = torch.stack([expert(f"{base}.{e}", "down_proj") for e in range(count)])
        else:
            state[name] = weights[name].float()
    model.load_state_dict(state)
    return model


@torch.no_grad()
def mean_nll(model, sequences):
    total = count = 0
    for ids in sequences:
        row = torch.tensor([ids])
        loss, losses, _ = train_demo.loss_of(model, row, torch.ones_like(row, dtype=torch.float))
        total, count = total + losses.sum().item(), count + losses.numel()
    return total / count


@torch.no_grad()
def generate(model, encoding, messages, thinking=False, limit=110):
    ids = data_demo.Renderer(encoding).prompt(messages, thinking)
    end, start = encoding.encode_single_token("<|im_end|>"), len(ids)
    cache = transformers.DynamicCache()
    out = model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True)
    while len(ids) - start < limit:
        ids.append(int(out.logits[0, -1].argmax()))
        if ids[-1] == end:
            break
        out = model(input_ids=torch.tensor([[ids[-1]]]), past_key_values=cache, use_cache=True)
    return encoding.decode(ids[start:])


def expert_use(model, sequences):
    """Share of each expert [layers, experts] in the routing of the sequences."""
    balance = train_demo.LoadBalance(model).watch()
    mean_nll(model, sequences)
    return balance.loads[0] / balance.loads[0].sum(-1, keepdim=True)


def shingles(text):
    return {text[i:i + SHINGLE] for i in range(len(text) - SHINGLE)}


def never_trained(corpus, held_out):
    """Held-out passages per domain of which no run of 40 characters occurs in any training text."""
    trained = set()
    for name in data_demo.DOMAINS:
        for line in data_demo.split(d["text"] for d in data_demo.read_lines(corpus / f"{name}.jsonl"))[0]:
            trained |= shingles(line)
    for chat in data_demo.read_lines(corpus / "chat.jsonl") + data_demo.read_lines(corpus / "chat_narrow.jsonl"):
        for message in chat["messages"]:
            trained |= shingles(message["content"])
    return {name: [[p for p in document.split("\n") if not shingles(p) & trained] for document in held_out[name]]
            for name in data_demo.DOMAINS}


def write_held_out(corpus, data, encoding):
    with open(HERE / "heldout.jsonl", "w", encoding="utf-8") as file:
        for name, documents in never_trained(corpus, data.held_out).items():
            passages = []
            for paragraphs in documents:
                text = ""
                for paragraph in paragraphs:
                    if len(encoding.encode(text)) < PASSAGE_TOKENS:
                        text += ("\n" if text else "") + paragraph
                if text and 80 < len(encoding.encode(text)) < 3 * PASSAGE_TOKENS:
                    passages.append(text)
            for text in passages[:PASSAGES]:
                ids = encoding.encode(text, disallowed_special=())
                file.write(json.dumps({"domain": name, "text": text, "ids": ids}, ensure_ascii=False) + "\n")
            lines = [" ".join(p.split()[:12]) for d in data.held_out[name] for p in d.split("\n")[1:3]]
            (HERE / "domains").mkdir(exist_ok=True)
            (HERE / "domains" / f"{name}.txt").write_text("\n".join(lines[:10]) + "\n", encoding="utf-8")
    asks = [c["messages"][-2]["content"] for c in data.held_out["chat"]]
    (HERE / "domains" / "chat.txt").write_text("\n".join(list(dict.fromkeys(asks))[:10]) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--checkpoint", type=pathlib.Path)
    parser.add_argument("--corpus", type=pathlib.Path)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    encoding = tokenizer_demo.load(args.model)
    if args.write:
        write_held_out(args.corpus, data_demo.Data(args.corpus, encoding, 1, "chat_narrow"), encoding)
    held = data_demo.read_lines(HERE / "heldout.jsonl")
    by_domain = {d: [h["ids"] for h in held if h["domain"] == d] for d in data_demo.DOMAINS}
    sequences = [h["ids"] for h in held]
    model = load_exported(args.model)
    if args.checkpoint:
        trained = train_demo.build_model(encoding.n_vocab).eval()
        trained.load_state_dict(torch.load(args.checkpoint)["model"])
        print(f"held-out NLL, training weights: {mean_nll(trained, sequences):.4f} nats per token")
    print(f"held-out NLL, exported weights: {mean_nll(model, sequences):.4f} nats per token,"
          f" {sum(map(len, sequences))} tokens")
    use = {name: expert_use(model, rows) for name, rows in by_domain.items()}
    everything = torch.stack(list(use.values())).mean(0)
    print(f"experts without a token: {(everything == 0).sum()} of {everything.numel()}; "
          f"largest share {everything.max():.3f} (even: {1 / everything.shape[1]:.3f})")
    for name, share in use.items():
        top = [f"{int(e)}:{share[3, e]:.2f}" for e in share[3].argsort(descending=True)[:5]]
        moved = (share - everything).abs().sum(-1).mean() / 2
        print(f"{name:>10}: NLL {mean_nll(model, by_domain[name]):.3f}, routing moved {moved:.0%}"
              f" from the average, top experts of layer 4 {' '.join(top)}")
    for text in CHATS:
        print(f"> {text}\n  {generate(model, encoding, [{'role': 'user', 'content': text}])}")
    for text in CHATS[3:6]:
        print(f"> {text} (thinking)\n  {generate(model, encoding, [{'role': 'user', 'content': text}], True)}")


if __name__ == "__main__":
    main()

"""Goldens of the demo model: logits and greedy tokens as for the random ones, and the NLL of the
held-out text.

A trained model of this size hesitates more than the random ones: at every tenth token some router
is within rounding of another choice, which moves logits by several percent, and few continuations
are clear at all of 32 steps. So prompts come from the held-out text with a likely last token; of
the continuations that rounding does not change, the one with the widest smallest gap is taken; and
of the prompt, logits are stored where rounding moves them least.
"""

import json

import torch
from safetensors.torch import save_file

import prompts
import reference
from make_goldens import LENGTHS, check, golden_of

RULES = prompts.Rules(gap=0.005, rounding=0.005, prompt_margin=0, margin=0.0001, distinct=6)
PREFIXES = 25


@torch.no_grad()
def likely_tokens(model, watch, prefix, n=64):
    if prefix.shape[1] == 0:
        return torch.arange(model.config.vocab_size)
    best = model(prefix, use_cache=False).logits[0, -1].topk(n)[1]
    watch.forget()
    return best


def windows(texts, length):
    """Pieces of `length` tokens of the texts of a domain, one after another."""
    streams = {}
    for text in texts:
        streams.setdefault(text["domain"], []).extend(text["ids"])
    for start in range(0, 4096, 61):
        for ids in streams.values():
            if start + length <= len(ids):
                yield torch.tensor([ids[start:start + length]], dtype=torch.long)


def stored_positions(length, error, index):
    """Of each 60 tokens of the long prompt, the one that rounding moves least; then every fourth
    (eighth) of the generated."""
    quiet = [start + error[start:start + 60].argmin().item() for start in range(0, length - 60, 60)]
    return (quiet if index == 0 else []) + list(range(length - 1, len(error), 4 if index == 0 else 8))


def smallest_gap(model, prompt, greedy):
    return prompts.gap(reference.logits_of(model, prompt + greedy[:-1])[len(prompt) - 1:]).min()


def write_logits(model, rounded, watch, texts, path):
    tensors = {}
    for index, length in enumerate(LENGTHS):
        found = prompts.find(model, rounded, watch, windows(texts, length - 1),
                             lambda prefix: likely_tokens(model, watch, prefix), RULES, PREFIXES)
        prompt, greedy, error = max(found, key=lambda f: smallest_gap(model, f[0], f[1]))
        logits = check(model, watch, prompt, greedy, error, RULES)
        positions = stored_positions(length, error, index)
        tensors.update(golden_of(index, logits, prompt, greedy, positions))
    save_file(tensors, path)


def write_nll(model, rounded, texts, path):
    rows = [{"domain": t["domain"], "ids": t["ids"], "nll": reference.nll(model, t["ids"])} for t in texts]
    predicted = sum(len(r["ids"]) - 1 for r in rows)
    mean = sum(r["nll"] for r in rows) / predicted
    same = sum(reference.nll(rounded, t["ids"]) for t in texts) / predicted
    print(f"  NLL {mean:.5f} over {predicted} tokens; BF16 activations alone: {same / mean - 1:+.4%}")
    path.write_text(json.dumps({"predicted_tokens": predicted, "mean_nll": mean, "texts": rows}))


def write(folder, heldout, data):
    texts = [json.loads(line) for line in open(heldout, encoding="utf-8")]
    model = reference.load(folder)
    rounded = reference.round_activations(reference.load(folder))
    write_nll(model, rounded, texts, data / "demo.json")
    write_logits(model, rounded, reference.RouterWatch(model), texts, data / "demo.safetensors")

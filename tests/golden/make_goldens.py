#!/usr/bin/env python3
"""Makes the goldens of tests/golden: see README.md.

  make_goldens.py random                    random checkpoints and their goldens, in data/
  make_goldens.py quantizer                 data/quantizer.safetensors
  make_goldens.py demo MODEL HELDOUT.jsonl  data/demo.safetensors and data/demo.json
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

import prompts
import quantizer_golden
import random_checkpoints
import reference

DATA = Path(__file__).parent / "data"
LENGTHS = (300, 1, 63, 64, 65)  # of the batch of five; around a page of 64; the first runs alone too


def golden_of(index, logits, prompt, greedy, positions):
    """logits[i] are those after token positions[i] of prompt + greedy."""
    return {f"{index}.prompt": torch.tensor(prompt, dtype=torch.int32),
            f"{index}.greedy": torch.tensor(greedy, dtype=torch.int32),
            f"{index}.positions": torch.tensor(positions, dtype=torch.int32),
            f"{index}.logits": logits[positions].contiguous()}


def sequence_golden(model, watch, index, prompt, greedy):
    ids = prompt + greedy[:-1]
    logits = reference.logits_of(model, ids)
    margin, generated = watch.take().min().item(), logits[len(prompt) - 1:]
    assert generated.argmax(-1).tolist() == greedy
    gap = prompts.gap(generated).min().item()
    print(f"    smallest gap {100 * gap:.1f} % of the range, smallest router margin {margin:.4f}")
    assert gap > prompts.GAP and margin >= prompts.MARGIN
    # The long one: every 30th token of the prompt and all generated; the others: every fourth.
    first = len(prompt) - 1
    positions = list(range(29, first, 30)) if index == 0 else []
    positions += range(first, len(ids), 1 if index == 0 else 4)
    return golden_of(index, logits, prompt, greedy, positions)


def make_random():
    for recipe in random_checkpoints.RECIPES:
        print(recipe.name)
        folder = DATA / recipe.name
        random_checkpoints.write(recipe, folder)
        model = reference.load(folder)
        rounded = reference.round_activations(reference.load(folder))
        watch, tensors = reference.RouterWatch(model), {}
        for index, length in enumerate(LENGTHS):
            prompt, greedy = prompts.find(model, rounded, watch, length, seed=length)
            tensors.update(sequence_golden(model, watch, index, prompt, greedy))
        save_file(tensors, folder / "golden.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("random")
    commands.add_parser("quantizer")
    demo = commands.add_parser("demo")
    demo.add_argument("model")
    demo.add_argument("heldout")
    args = parser.parse_args()
    torch.set_num_threads(1)
    DATA.mkdir(exist_ok=True)
    if args.command == "random":
        make_random()
    elif args.command == "quantizer":
        quantizer_golden.write(DATA / "quantizer.safetensors")
    else:
        import demo_golden
        demo_golden.write(args.model, args.heldout, DATA)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes the goldens of tests/golden: see README.md.

  make_goldens.py random [NAME...]          random checkpoints and their goldens, in data/
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


BOUND = 0.02              # allowed |delta logit| as a fraction of the logit range
RULES = prompts.Rules(gap=2 * BOUND, rounding=BOUND / 2, prompt_margin=0.004, margin=0.004,
                      distinct=10)


def check(model, watch, prompt, greedy, error, rules):
    """Logits after each token, computed in one piece; prints how decided the choices are. `error`:
    what rounding moves, after each token."""
    watch.forget()
    logits = reference.logits_of(model, prompt + greedy[:-1])
    margin, generated = watch.take()[len(prompt) - 1:].min().item(), logits[len(prompt) - 1:]
    assert generated.argmax(-1).tolist() == greedy
    gap = prompts.gap(generated).min().item()
    print(f"  {len(prompt)} tokens: {len(set(greedy))} distinct greedy ones, smallest gap "
          f"{100 * gap:.1f} % of the range, smallest router margin {margin:.4f}, BF16 activations "
          f"alone move a logit by {100 * error[len(prompt) - 1:].max().item():.2f} %", flush=True)
    assert gap > rules.gap and margin >= rules.margin
    return logits


def golden_of(index, logits, prompt, greedy, positions):
    """logits[i] are those after token positions[i] of prompt + greedy."""
    return {f"{index}.prompt": torch.tensor(prompt, dtype=torch.int32),
            f"{index}.greedy": torch.tensor(greedy, dtype=torch.int32),
            f"{index}.positions": torch.tensor(positions, dtype=torch.int32),
            f"{index}.logits": logits[positions].contiguous()}


def make_random(names):
    for recipe in random_checkpoints.RECIPES:
        if names and recipe.name not in names:
            continue
        print(recipe.name)
        folder = DATA / recipe.name
        random_checkpoints.write(recipe, folder)
        model = reference.load(folder)
        rounded = reference.round_activations(reference.load(folder))
        watch, tensors = reference.RouterWatch(model), {}
        for index, length in enumerate(LENGTHS):
            prefixes = prompts.random_prefixes(model, watch, length - 1, RULES,
                                               torch.Generator().manual_seed(length))
            everything = torch.arange(model.config.vocab_size)
            # The first will do. None: change the checkpoint's seed.
            prompt, greedy, error = next(prompts.find(model, rounded, watch, prefixes,
                                                      lambda _: everything, RULES))
            logits = check(model, watch, prompt, greedy, error, RULES)
            # The long one: every 30th token of the prompt and all generated; else every fourth.
            first, end = length - 1, len(logits)
            positions = [*range(29, first, 30), *range(first, end)] if index == 0 \
                else list(range(first, end, 4))
            tensors.update(golden_of(index, logits, prompt, greedy, positions))
        save_file(tensors, folder / "golden.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("random").add_argument("names", nargs="*")
    commands.add_parser("quantizer")
    demo = commands.add_parser("demo")
    demo.add_argument("model")
    demo.add_argument("heldout")
    args = parser.parse_args()
    torch.set_num_threads(1)
    DATA.mkdir(exist_ok=True)
    if args.command == "random":
        make_random(args.names)
    elif args.command == "quantizer":
        quantizer_golden.write(DATA / "quantizer.safetensors")
    else:
        import demo_golden
        demo_golden.write(args.model, args.heldout, DATA)


if __name__ == "__main__":
    main()

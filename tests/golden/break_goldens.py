#!/usr/bin/env python3
"""Copies data/ with one defect in every checkpoint, to see that golden_test notices.

  break_goldens.py DEFECT TREE      then: TANDEM_SOURCE_DIR=TREE golden_test
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

DATA = Path(__file__).parent / "data"


def text_config(config):
    return config.get("text_config", config)


def wrong_beta(config):
    scaling = text_config(config).get("rope_scaling")
    if scaling:
        scaling["beta_fast"] = 33.0 - scaling["beta_fast"]  # 32 and 1 trade places


def no_yarn(config):
    text_config(config).pop("rope_scaling", None)


def no_groups(config):
    text_config(config)["topk_group"] = text_config(config)["n_group"] = 1


def wrong_scaling(config):
    text_config(config)["routed_scaling_factor"] *= 1.1


def swapped_nibbles(name, tensor):
    if not name.endswith("weight_packed"):
        return tensor
    x = tensor.view(torch.uint8)
    return ((x << 4) | (x >> 4)).view(torch.int32)


def no_bias(name, tensor):
    return torch.zeros_like(tensor) if name.endswith("e_score_correction_bias") else tensor


def half_split_rope(name, tensor):
    """Rope rows of kv_a in half-split order: what a kernel with the other RoPE layout would see."""
    if not name.endswith("kv_a_proj_with_mqa.weight"):
        return tensor
    rope = ROPE[0]
    tail = tensor[-rope:].unflatten(0, (2, rope // 2)).transpose(0, 1).flatten(0, 1)
    return torch.cat([tensor[:-rope], tail]).contiguous()


CONFIG = [wrong_beta, no_yarn, no_groups, wrong_scaling]
TENSOR = [swapped_nibbles, no_bias, half_split_rope]
ROPE = [0]


def main():
    defect, tree = sys.argv[1], Path(sys.argv[2]) / "tests/golden/data"
    change = next(f for f in CONFIG + TENSOR if f.__name__ == defect)
    shutil.copytree(DATA, tree, dirs_exist_ok=True)
    for file in tree.glob("*/config.json"):
        config = json.loads(file.read_text())
        ROPE[0] = text_config(config)["qk_rope_head_dim"]
        if change in CONFIG:
            change(config)
            file.write_text(json.dumps(config))
            continue
        for shard in file.parent.glob("model*.safetensors"):
            save_file({k: change(k, v) for k, v in load_file(shard).items()}, shard)


if __name__ == "__main__":
    main()

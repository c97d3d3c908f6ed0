"""Witness for cpu_experts/quantize.h: BF16 matrices and what compressed-tensors makes of them."""

import torch
from safetensors.torch import save_file

import int4


def cases():
    generator = torch.Generator().manual_seed(20260)

    def normal(rows, cols, sigma=0.02):
        return (torch.randn(rows, cols, generator=generator) * sigma).to(torch.bfloat16)

    yield "gaussian", normal(33, 160)
    yield "one_group", normal(1, 32)

    # Groups of zeros, a single value, and the largest magnitude on either side of zero.
    special = normal(8, 96)
    special[0, :32] = 0
    special[1] = 0
    special[2, 32:64] = 0.37
    special[3, 5] = -1.5
    special[4, 70] = 1.5
    special[5, 0:32] = -special[5, 0:32].abs()
    special[6, 0:32] = special[6, 0:32].abs()
    yield "special", special

    # Values on the rounding boundaries: the scale is exactly 1, w = k/2 and its BF16 neighbours.
    halves = torch.arange(-15, 16).float() / 2
    row = torch.cat([halves, torch.tensor([7.5])]).to(torch.bfloat16)
    up, down = ((row.view(torch.int16) + step).view(torch.bfloat16) for step in (1, -1))
    keep = (row == 0) | (row.abs() == 7.5)
    yield "halves", torch.stack([row, torch.where(keep, row, up), torch.where(keep, row, down)])

    # Very different magnitudes per group, down to BF16's small normal numbers.
    exponents = torch.linspace(-30, 4, 6).repeat_interleave(int4.GROUP)
    yield "magnitudes", (normal(16, 192, 1.0).float() * 10.0 ** exponents).to(torch.bfloat16)


def write(path):
    tensors = {}
    for name, weight in cases():
        packed = int4.compress(weight)
        tensors[f"{name}.weight"] = weight.contiguous()
        tensors[f"{name}.packed"] = packed["weight_packed"].contiguous()
        tensors[f"{name}.scale"] = packed["weight_scale"].contiguous()
    save_file(tensors, path)

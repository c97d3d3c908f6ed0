"""INT4 groups of 32, as K2.6's quantization_config says: only compressed-tensors' own functions."""

import torch
from compressed_tensors.compressors import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams

GROUP = 32
SCHEME = QuantizationScheme(
    targets=["Linear"],
    weights=QuantizationArgs(num_bits=4, type="int", strategy="group", group_size=GROUP,
                             symmetric=True, dynamic=False, observer="minmax"))


def compress(weight):
    """BF16 [out, in] -> {weight_packed, weight_scale, weight_shape}."""
    assert weight.dtype == torch.bfloat16
    groups = weight.unflatten(-1, (-1, GROUP))
    scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), SCHEME.weights)
    return PackedQuantizationCompressor.compress({"weight": weight, "weight_scale": scale}, SCHEME)


def decompress(packed):
    """{weight_packed, weight_scale, weight_shape} -> BF16 [out, in]."""
    out = PackedQuantizationCompressor.decompress(packed, SCHEME)["weight"]
    assert out.dtype == torch.bfloat16
    return out

#!/usr/bin/env python3
"""Writes the GGUF twin of a checkpoint that `tandem synth` made: the same shape, other random weights.

Usage: gguf_twin.py MODEL OUT.gguf    (MODEL holds config.json; needs the packages gguf and numpy)

Architecture deepseek2 with the split latent-attention tensors (attn_k_b, attn_v_b), which is the form
that llama.cpp computes without expanding the cache. Routed experts are Q4_0, the dense side is Q8_0,
norms and the router F32, as the usual converters leave them. No weight is a constant: values are
uniform in their integer range, with block scales that keep activations at the size they have in a
trained model. Written in pieces: never more than some hundred MB in memory.
"""
import dataclasses
import json
import math
import os
import pathlib
import sys

BLOCK_WEIGHTS = 32
BLOCK_BYTES = {"Q4_0": 18, "Q8_0": 34, "F32": 4 * BLOCK_WEIGHTS}
INTEGER_SIGMA = {"Q4_0": 4.6, "Q8_0": 73.9}  # of integers uniform in 4 and 8 bits
PIECE_BLOCKS = 1 << 20
FORMAT = 1  # of what is written; another number makes old files be written again


@dataclasses.dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]  # outermost first; the last one is the inputs
    dtype: str
    fill: str = "normal"  # normal, norm (around 1), bias

    @property
    def weights(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.weights // BLOCK_WEIGHTS * BLOCK_BYTES[self.dtype]


def load_config(model: pathlib.Path) -> dict:
    config = json.loads((model / "config.json").read_text())
    config = config.get("text_config", config)
    if not config.get("q_lora_rank") or not config.get("n_routed_experts"):
        raise ValueError(f"{model}: expected a mixture of experts with q_lora_rank, as shape k2.6 is")
    return config


def tensors(c: dict) -> list[Tensor]:
    """All tensors, in file order."""
    hidden, heads, latent = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    nope, rope, v = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    out = [
        Tensor("token_embd.weight", (c["vocab_size"], hidden), "Q8_0"),
        Tensor("output_norm.weight", (hidden,), "F32", "norm"),
        Tensor("output.weight", (c["vocab_size"], hidden), "Q8_0"),
    ]
    for layer in range(c["num_hidden_layers"]):
        out += [
            Tensor("attn_norm.weight", (hidden,), "F32", "norm"),
            Tensor("attn_q_a.weight", (c["q_lora_rank"], hidden), "Q8_0"),
            Tensor("attn_q_a_norm.weight", (c["q_lora_rank"],), "F32", "norm"),
            Tensor("attn_q_b.weight", (heads * (nope + rope), c["q_lora_rank"]), "Q8_0"),
            Tensor("attn_kv_a_mqa.weight", (latent + rope, hidden), "Q8_0"),
            Tensor("attn_kv_a_norm.weight", (latent,), "F32", "norm"),
            Tensor("attn_k_b.weight", (heads, latent, nope), "Q8_0"),
            Tensor("attn_v_b.weight", (heads, v, latent), "Q8_0"),
            Tensor("attn_output.weight", (hidden, heads * v), "Q8_0"),
            Tensor("ffn_norm.weight", (hidden,), "F32", "norm"),
        ]
        if layer < c["first_k_dense_replace"]:
            out += _mlp("", (), c["intermediate_size"], hidden, "Q8_0")
        else:
            experts = c["n_routed_experts"]
            out += [
                Tensor("ffn_gate_inp.weight", (experts, hidden), "F32"),
                Tensor("exp_probs_b.bias", (experts,), "F32", "bias"),
            ]
            out += _mlp("_exps", (experts,), c["moe_intermediate_size"], hidden, "Q4_0")
            shared = c["moe_intermediate_size"] * c["n_shared_experts"]
            out += _mlp("_shexp", (), shared, hidden, "Q8_0")
        first = next(i for i, t in enumerate(out) if t.name == "attn_norm.weight")
        out[first:] = [dataclasses.replace(t, name=f"blk.{layer}.{t.name}") for t in out[first:]]
    return out


def _mlp(suffix: str, experts: tuple[int, ...], width: int, hidden: int, dtype: str) -> list[Tensor]:
    return [
        Tensor(f"ffn_gate{suffix}.weight", (*experts, width, hidden), dtype),
        Tensor(f"ffn_up{suffix}.weight", (*experts, width, hidden), dtype),
        Tensor(f"ffn_down{suffix}.weight", (*experts, hidden, width), dtype),
    ]


def read_bytes_per_token(c: dict) -> int:
    """Weights that one decoded token must read: all but the embedding and the experts not chosen."""
    total = 0
    for t in tensors(c):
        if t.name == "token_embd.weight":
            continue
        routed = "_exps." in t.name
        total += t.size_bytes * c["num_experts_per_tok"] // c["n_routed_experts"] if routed else t.size_bytes
    return total


def is_current(c: dict, path: pathlib.Path) -> bool:
    stamp = path.with_suffix(".json")
    return path.exists() and stamp.exists() and json.loads(stamp.read_text()) == _stamp(c)


def _stamp(c: dict) -> dict:
    return {"format": FORMAT, "tensors": [[t.name, *t.shape, t.dtype] for t in tensors(c)]}


def _metadata(writer, c: dict) -> None:
    import gguf

    writer.add_name("random twin")
    writer.add_file_type(2)  # mostly Q4_0
    writer.add_quantization_version(2)
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(1)  # the latent is the one key and value of all heads
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_vocab_size(c["vocab_size"])
    writer.add_q_lora_rank(c["q_lora_rank"])
    writer.add_kv_lora_rank(c["kv_lora_rank"])
    writer.add_key_length(c["kv_lora_rank"] + c["qk_rope_head_dim"])
    writer.add_value_length(c["kv_lora_rank"])
    writer.add_key_length_mla(c["qk_nope_head_dim"] + c["qk_rope_head_dim"])
    writer.add_value_length_mla(c["v_head_dim"])
    writer.add_leading_dense_block_count(c["first_k_dense_replace"])
    writer.add_expert_feed_forward_length(c["moe_intermediate_size"])
    writer.add_expert_count(c["n_routed_experts"])
    writer.add_expert_used_count(c["num_experts_per_tok"])
    writer.add_expert_shared_count(c["n_shared_experts"])
    writer.add_expert_weights_scale(c["routed_scaling_factor"])
    writer.add_expert_weights_norm(c["norm_topk_prob"])
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_rope_dimension_count(c["qk_rope_head_dim"])
    writer.add_rope_freq_base(c["rope_theta"])
    if scaling := c.get("rope_scaling"):
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_log_mul(0.1 * scaling["mscale_all_dim"])
    writer.add_tokenizer_model("none")  # the bench makes its own random ids


def _pieces(tensor: Tensor, random):
    """The tensor's bytes as arrays of at most PIECE_BLOCKS blocks."""
    import numpy as np

    if tensor.dtype == "F32":
        if tensor.fill == "norm":
            yield random.uniform(0.75, 1.25, tensor.weights).astype(np.float32)
        else:
            sigma = 0.05 if tensor.fill == "bias" else tensor.shape[-1] ** -0.5
            yield (random.standard_normal(tensor.weights) * sigma).astype(np.float32)
        return
    scale = tensor.shape[-1] ** -0.5 / INTEGER_SIGMA[tensor.dtype]
    block = np.dtype([("scale", "<f2"), ("integers", "u1", BLOCK_BYTES[tensor.dtype] - 2)])
    left = tensor.weights // BLOCK_WEIGHTS
    while left > 0:
        piece = np.empty(min(left, PIECE_BLOCKS), block)
        piece["scale"] = scale * random.uniform(0.75, 1.25, len(piece))
        piece["integers"] = random.integers(0, 256, piece["integers"].shape, np.uint8)
        yield piece
        left -= len(piece)


def write(c: dict, path: pathlib.Path, seed: int = 1) -> None:
    import gguf
    import numpy as np

    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "deepseek2")
    _metadata(writer, c)
    for t in tensors(c):
        if t.dtype == "F32":
            writer.add_tensor_info(t.name, t.shape, np.dtype(np.float32), t.size_bytes)
        else:
            row_bytes = t.shape[-1] // BLOCK_WEIGHTS * BLOCK_BYTES[t.dtype]
            dtype = gguf.GGMLQuantizationType[t.dtype]
            writer.add_tensor_info(t.name, (*t.shape[:-1], row_bytes), np.dtype(np.uint8), t.size_bytes, dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    file = writer.fout[0]
    writer.write_padding(file, file.tell())
    random = np.random.Generator(np.random.SFC64(seed))
    for t in tensors(c):
        for piece in _pieces(t, random):
            piece.tofile(file)
        writer.write_padding(file, t.size_bytes)
    writer.close()
    os.replace(partial, path)
    path.with_suffix(".json").write_text(json.dumps(_stamp(c)))


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__.splitlines()[2], file=sys.stderr)
        return 2
    config, path = load_config(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2])
    if not is_current(config, path):
        write(config, path)
    print(f"{path}: {path.stat().st_size / 1e9:.2f} GB, {read_bytes_per_token(config) / 1e9:.3f} GB read per token")
    return 0


if __name__ == "__main__":
    sys.exit(main())

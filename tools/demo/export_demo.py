"""Writes a training checkpoint as a model folder in Kimi K2.6's own format.

Experts become INT4 by compressed-tensors' own compressor (group 32, scale = absmax / 7.5); all else
is BF16, the router's correction bias FP32. The configuration is K2.6's file with this model's sizes.
"""

import argparse
import json
import pathlib
import shutil

import torch
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file

import tokenizer_demo
import train_demo

PREFIX = "language_model."
SHARDS = 2


def int4_scheme():
    return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(
        num_bits=4, type="int", symmetric=True, strategy="group", group_size=32))


def compress_expert(weight, scheme):
    scale = (weight.unflatten(-1, (-1, 32)).abs().amax(-1) / 7.5).clamp_min(1e-8).bfloat16()
    out = PackedQuantizationCompressor.compress({"weight": weight, "weight_scale": scale}, scheme)
    out["weight_shape"] = out["weight_shape"].to(torch.int32)
    return out


def tensors_of(state):
    """Published name -> tensor, in layer order."""
    scheme, out = int4_scheme(), {}
    for name, value in state.items():
        if name.endswith("experts.gate_up_proj") or name.endswith("experts.down_proj"):
            base = name.rsplit(".", 1)[0]
            for expert, weight in enumerate(value.float()):
                parts = {"down_proj": weight} if name.endswith("down_proj") else dict(
                    zip(("gate_proj", "up_proj"), weight.chunk(2)))
                for part, matrix in parts.items():
                    for key, tensor in compress_expert(matrix.contiguous(), scheme).items():
                        out[f"{PREFIX}{base}.{expert}.{part}.{key}"] = tensor.contiguous()
        elif name.endswith("e_score_correction_bias"):
            out[PREFIX + name] = value.float()
        else:
            out[PREFIX + name] = value.bfloat16().contiguous()
    return out


def shard_of(name, layers):
    if ".layers." in name:
        return int(name.split(".layers.")[1].split(".")[0]) * SHARDS // layers
    return 0 if "embed_tokens" in name else SHARDS - 1


def write_tensors(tensors, out):
    layers = train_demo.MODEL["num_hidden_layers"]
    weight_map, total = {}, 0
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        part = {n: t for n, t in tensors.items() if shard_of(n, layers) == shard}
        save_file(part, out / file, metadata={"format": "pt"})
        weight_map |= {name: file for name in part}
        total += sum(t.numel() * t.element_size() for t in part.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (out / "model.safetensors.index.json").write_text(json.dumps(index) + "\n")
    return total


def write_configs(kimi_config, plain_tokens, out):
    """K2.6's config.json with this model's sizes and token ids; no vision part, no remote code."""
    def moved(token_id):
        return token_id - tokenizer_demo.KIMI_BASE + plain_tokens

    config = json.load(open(kimi_config))
    for key in ("vision_config", "auto_map", "use_unified_vision_chunk", "video_placeholder"):
        config.pop(key, None)
    text = config["text_config"]
    text.pop("auto_map", None)
    for part in (config, text):
        for key in ("bos_token_id", "eos_token_id", "pad_token_id", "media_placeholder_token_id"):
            if key in part:
                part[key] = moved(part[key])
    text.update(train_demo.MODEL, vocab_size=plain_tokens + tokenizer_demo.SPECIALS)
    text["rope_scaling"] = {**train_demo.YARN, "type": "yarn"}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"eos_token_id": config["eos_token_id"], "max_length": text["max_position_embeddings"]}
    (out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--kimi-config", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    state = torch.load(args.checkpoint)
    total = write_tensors(tensors_of(state["model"]), args.out)
    for name in ("tiktoken.model", "tokenizer_config.json"):
        shutil.copy(args.tokenizer / name, args.out / name)
    write_configs(args.kimi_config, len(open(args.tokenizer / "tiktoken.model").readlines()), args.out)
    print(f"step {state['step']}, {state['tokens']} tokens: {total:,} tensor bytes in {args.out}")


if __name__ == "__main__":
    main()

"""Random checkpoints of odd shapes in the published formats of the Kimi K2 family.

Weights are scaled so that every part matters and none is chaotic: attention is neither uniform nor
one-hot (a query looks at 50 to 150 of 300 keys), attention and experts each add about as much as
the embedding holds, the router uses all experts, its correction bias changes choices.
"""

import base64
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

import int4

SPECIAL = {0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 4: "<|im_assistant|>",
           10: "<|im_system|>", 17: "<|im_middle|>", 22: "<think>", 23: "</think>", 254: "[UNK]",
           255: "[PAD]"}
NOT_FLAGGED = ("<think>", "</think>")
N_SPECIAL = 256

QUANTIZATION = {
    "config_groups": {"group_0": {
        "input_activations": None, "output_activations": None, "targets": ["Linear"],
        "weights": {"actorder": None, "block_structure": None, "dynamic": False, "group_size": 32,
                    "num_bits": 4, "observer": "minmax", "observer_kwargs": {}, "strategy": "group",
                    "symmetric": True, "type": "int"}}},
    "format": "pack-quantized",
    "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*",
               "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],
    "kv_cache_scheme": None,
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
}

# rms_norm_eps is 1e-6 throughout: transformers builds q_a_layernorm and kv_a_layernorm with that
# constant whatever the config says, other engines use the config's value; so both mean the same.
COMMON = dict(hidden_act="silu", rms_norm_eps=1e-6, scoring_func="sigmoid", topk_method="noaux_tc",
              norm_topk_prob=True, moe_layer_freq=1, attention_bias=False, attention_dropout=0.0,
              num_nextn_predict_layers=0, tie_word_embeddings=False, dtype="bfloat16")


def yarn(beta_fast):
    return {"type": "yarn", "factor": 64.0, "beta_fast": beta_fast, "beta_slow": 1.0, "mscale": 1.0,
            "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096}


class Recipe:
    """One checkpoint: its config and how it is laid out in files."""

    def __init__(self, name, seed, merges, config, nested=False, shards=1, int4_experts=True,
                 router_dtype=torch.bfloat16, shape_dtype=torch.int64, embedding_sigma=1.4):
        self.name, self.seed, self.merges = name, seed, merges
        self.nested, self.shards, self.int4_experts = nested, shards, int4_experts
        self.router_dtype, self.shape_dtype = router_dtype, shape_dtype
        self.embedding_sigma = embedding_sigma
        base = 256 + merges
        self.config = {**COMMON, **config, "vocab_size": base + N_SPECIAL, "bos_token_id": base,
                       "eos_token_id": base + 2, "pad_token_id": base + 255,
                       "num_key_value_heads": config["num_attention_heads"]}

    def config_json(self):
        text = dict(self.config)
        if self.int4_experts:
            text["quantization_config"] = QUANTIZATION
        if not self.nested:
            return {"architectures": ["DeepseekV3ForCausalLM"], **text}
        text["architectures"] = ["DeepseekV3ForCausalLM"]
        text["model_type"] = "kimi_k2"
        ids = {k: text[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
        return {"architectures": ["KimiK25ForConditionalGeneration"], "model_type": "kimi_k25",
                "dtype": "bfloat16", "tie_word_embeddings": False, **ids, "text_config": text}


RECIPES = [
    # Like K2.6: nested config, name prefix, two shards, one shared expert, YaRN with beta_fast 32.
    Recipe("nested_k26", seed=11, merges=0, nested=True, shards=2, config=dict(
        hidden_size=128, num_hidden_layers=3, first_k_dense_replace=1, intermediate_size=192,
        moe_intermediate_size=64, n_routed_experts=16, n_shared_experts=1, num_experts_per_tok=4,
        n_group=1, topk_group=1, routed_scaling_factor=2.827, num_attention_heads=4,
        q_lora_rank=48, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32,
        rope_theta=50000.0, rope_scaling=yarn(32.0), max_position_embeddings=262144)),
    # Like K2-Thinking: flat, no prefix, beta_fast 1; every size odd in its own way.
    Recipe("flat_thinking", seed=12, merges=31, router_dtype=torch.float32,
           shape_dtype=torch.int32, config=dict(
        model_type="kimi_k2",
        hidden_size=160, num_hidden_layers=4, first_k_dense_replace=2, intermediate_size=96,
        moe_intermediate_size=64, n_routed_experts=12, n_shared_experts=2, num_experts_per_tok=3,
        n_group=1, topk_group=1, routed_scaling_factor=2.827, num_attention_heads=3,
        q_lora_rank=56, kv_lora_rank=96, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=40,
        rope_theta=50000.0, rope_scaling=yarn(1.0), max_position_embeddings=262144)),
    # Like DeepSeek-V3's router (groups of experts) on Moonlight's attention (no q_lora, no YaRN).
    Recipe("grouped_moonlight", seed=27, merges=5, embedding_sigma=2.0, config=dict(
        model_type="deepseek_v3",
        hidden_size=96, num_hidden_layers=3, first_k_dense_replace=1, intermediate_size=160,
        moe_intermediate_size=32, n_routed_experts=18, n_shared_experts=2, num_experts_per_tok=3,
        n_group=3, topk_group=2, routed_scaling_factor=2.446, num_attention_heads=5,
        q_lora_rank=None, kv_lora_rank=64, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=24,
        rope_theta=50000.0, rope_scaling=None, max_position_embeddings=8192)),
    # Experts in BF16: the engine quantises them on load; the reference gets the weights that
    # compressed-tensors makes of them.
    Recipe("bf16_experts", seed=12, merges=0, int4_experts=False, embedding_sigma=1.8,
           config=dict(
        model_type="deepseek_v3",
        hidden_size=64, num_hidden_layers=2, first_k_dense_replace=1, intermediate_size=128,
        moe_intermediate_size=96, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=2,
        n_group=1, topk_group=1, routed_scaling_factor=2.446, num_attention_heads=2,
        q_lora_rank=None, kv_lora_rank=32, qk_nope_head_dim=32, qk_rope_head_dim=32, v_head_dim=16,
        rope_theta=10000.0, rope_scaling=None, max_position_embeddings=8192)),
]


class Weights:
    """Draws tensors and keeps them under the names of the published checkpoints."""

    def __init__(self, recipe):
        self.recipe = recipe
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.prefix = "language_model." if recipe.nested else ""
        self.tensors = {}

    def normal(self, *shape, sigma=1.0):
        return (torch.randn(*shape, generator=self.generator) * sigma).to(torch.bfloat16)

    def put(self, name, tensor):
        self.tensors[self.prefix + name] = tensor.contiguous()

    def linear(self, name, n_out, n_in, gain=1.0):
        self.put(name + ".weight", self.normal(n_out, n_in, sigma=gain / n_in**0.5))

    def norm(self, name, size):
        self.put(name + ".weight", (1 + 0.2 * self.normal(size).float()).to(torch.bfloat16))

    def expert(self, name, n_out, n_in, gain):
        weight = self.normal(n_out, n_in, sigma=gain / n_in**0.5)
        if not self.recipe.int4_experts:
            return self.put(name + ".weight", weight)
        for key, tensor in int4.compress(weight).items():
            if key == "weight_shape":
                tensor = tensor.to(self.recipe.shape_dtype)
            self.put(f"{name}.{key}", tensor)

    def mlp(self, name, width, hidden, linear, gain):
        linear(name + ".gate_proj", width, hidden, 1.5)
        linear(name + ".up_proj", width, hidden, 1.0)
        linear(name + ".down_proj", hidden, width, gain)

    def attention(self, p, c):
        hidden, heads = c["hidden_size"], c["num_attention_heads"]
        qk = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
        gain = 0.85 if c["rope_scaling"] else 1.2  # YaRN doubles the softmax scale
        if c["q_lora_rank"]:
            self.linear(p + "q_a_proj", c["q_lora_rank"], hidden)
            self.norm(p + "q_a_layernorm", c["q_lora_rank"])
            self.linear(p + "q_b_proj", heads * qk, c["q_lora_rank"], gain)
        else:
            self.linear(p + "q_proj", heads * qk, hidden, gain)
        self.linear(p + "kv_a_proj_with_mqa", c["kv_lora_rank"] + c["qk_rope_head_dim"], hidden, gain)
        self.norm(p + "kv_a_layernorm", c["kv_lora_rank"])
        self.linear(p + "kv_b_proj", heads * (c["qk_nope_head_dim"] + c["v_head_dim"]),
                    c["kv_lora_rank"], gain)
        self.linear(p + "o_proj", hidden, heads * c["v_head_dim"], 2.0)

    def moe(self, p, c):
        hidden, width, experts = c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]
        gate = self.normal(experts, hidden, sigma=2.0 / hidden**0.5)
        self.put(p + "gate.weight", gate.to(self.recipe.router_dtype))
        self.put(p + "gate.e_score_correction_bias", 0.1 * self.normal(experts).float())
        for e in range(experts):
            self.mlp(f"{p}experts.{e}", width, hidden, self.expert, 0.6)
        self.mlp(p + "shared_experts", c["n_shared_experts"] * width, hidden, self.linear, 0.6)

    def head(self, embedding):
        """Rows of different length, each leaning towards one token's embedding: a bigram flavour,
        so that the greedy choice is often clear but still hangs on what the layers add."""
        vocab, hidden = embedding.shape
        loudness = torch.exp(0.25 * torch.randn(vocab, 1, generator=self.generator))
        before = embedding[torch.randperm(vocab, generator=self.generator)].float()
        head = 0.9 * before + 0.45 * self.normal(vocab, hidden).float()
        return (head * loudness * 1.5 / hidden**0.5).to(torch.bfloat16)

    def draw(self):
        c = self.recipe.config
        vocab, hidden = c["vocab_size"], c["hidden_size"]
        embedding = self.normal(vocab, hidden, sigma=self.recipe.embedding_sigma)
        self.put("model.embed_tokens.weight", embedding)
        for layer in range(c["num_hidden_layers"]):
            p = f"model.layers.{layer}."
            self.norm(p + "input_layernorm", hidden)
            self.norm(p + "post_attention_layernorm", hidden)
            self.attention(p + "self_attn.", c)
            if layer < c["first_k_dense_replace"]:
                self.mlp(p + "mlp", c["intermediate_size"], hidden, self.linear, 0.6)
            else:
                self.moe(p + "mlp.", c)
        self.norm("model.norm", hidden)
        self.put("lm_head.weight", self.head(embedding))
        return self.tensors


def write_tensors(folder, tensors, shards):
    if shards == 1:
        return save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    weight_map, names = {}, sorted(tensors)
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard::shards]
        save_file({n: tensors[n] for n in part}, folder / file, metadata={"format": "pt"})
        weight_map.update({n: file for n in part})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True))


def write_tokenizer(folder, merges):
    """256 bytes in the published order, `merges` pairs of letters, Kimi's 256 control slots."""
    order = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    order += [b for b in range(256) if b not in order]
    tokens = [bytes([b]) for b in order]
    pairs = [bytes([a, b]) for a in b"etaoinsrh" for b in b"etaoinsrh"]
    tokens += pairs[:merges]
    lines = [f"{base64.b64encode(t).decode()} {rank}" for rank, t in enumerate(tokens)]
    (folder / "tiktoken.model").write_text("\n".join(lines) + "\n")
    added = {str(len(tokens) + slot): {"content": text, "lstrip": False, "normalized": False,
                                       "rstrip": False, "single_word": False,
                                       "special": text not in NOT_FLAGGED}
             for slot, text in SPECIAL.items()}
    config = {"added_tokens_decoder": added, "bos_token": "[BOS]", "eos_token": "[EOS]",
              "pad_token": "[PAD]", "unk_token": "[UNK]", "tokenizer_class": "TikTokenTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))


def write(recipe, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder, Weights(recipe).draw(), recipe.shards)
    write_tokenizer(folder, recipe.merges)
    (folder / "config.json").write_text(json.dumps(recipe.config_json(), indent=1))

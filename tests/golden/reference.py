"""transformers' own DeepseekV3ForCausalLM over a checkpoint folder, in float32.

Weights are what the checkpoint's format defines: BF16 as stored, INT4 experts dequantised to BF16
by compressed-tensors; only then everything becomes float32, so the reference adds no rounding.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

import int4


def read_tensors(folder):
    """All tensors, without the name prefix of nested checkpoints."""
    tensors = {}
    for file in sorted(Path(folder).glob("model*.safetensors")):
        with safe_open(file, "pt") as f:
            for name in f.keys():
                tensors[name.removeprefix("language_model.")] = f.get_tensor(name)
    return tensors


def expert_weight(tensors, name):
    if name + ".weight_packed" in tensors:
        keys = ("weight_packed", "weight_scale", "weight_shape")
        return int4.decompress({k: tensors.pop(f"{name}.{k}") for k in keys})
    # BF16 experts: the engine holds INT4, so the reference takes the library's INT4 too.
    return int4.decompress(int4.compress(tensors.pop(name + ".weight")))


def stack_experts(tensors, config):
    """transformers holds a layer's experts as [experts, 2 * width, hidden] and its down matrices."""
    for layer in range(config.first_k_dense_replace, config.num_hidden_layers):
        p = f"model.layers.{layer}.mlp.experts."
        part = {m: [expert_weight(tensors, f"{p}{e}.{m}_proj") for e in range(config.n_routed_experts)]
                for m in ("gate", "up", "down")}
        tensors[p + "gate_up_proj"] = torch.cat([torch.stack(part["gate"]), torch.stack(part["up"])], 1)
        tensors[p + "down_proj"] = torch.stack(part["down"])


def load(folder, dtype=torch.float32, **overrides):
    text = json.loads((Path(folder) / "config.json").read_text())
    text = text.get("text_config", text)
    drop = ("quantization_config", "architectures", "auto_map", "model_type", "dtype", "torch_dtype")
    config = DeepseekV3Config(**{k: v for k, v in {**text, **overrides}.items() if k not in drop})
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = DeepseekV3ForCausalLM(config)
    # 1e-6 is this class's constant for the two inner norms; other engines use the config's value.
    for layer in model.model.layers:
        for norm in (layer.self_attn.q_a_layernorm, layer.self_attn.kv_a_layernorm):
            if norm is not None:
                norm.variance_epsilon = config.rms_norm_eps
    tensors = read_tensors(folder)
    stack_experts(tensors, config)
    model.to(torch.float32).load_state_dict({k: v.float() for k, v in tensors.items()}, strict=True)
    return model.to(dtype).eval()


class RouterWatch:
    """Records, for each token, how far the router's choice is from another one.

    margin = the smallest distance, over all MoE layers, between the score of the last chosen and
    the first rejected expert (and group of experts), in units of sigmoid scores.
    """

    def __init__(self, model):
        self.margins = []
        for layer in model.model.layers:
            if hasattr(layer.mlp, "gate"):
                layer.mlp.gate.register_forward_hook(self.hook)

    def hook(self, gate, _, output):
        score = output[0].sigmoid() + gate.e_score_correction_bias
        grouped = score.unflatten(-1, (gate.num_group, -1))
        margin = torch.full(score.shape[:1], float("inf"))
        if gate.topk_group < gate.num_group:
            group = grouped.topk(2, -1)[0].sum(-1).sort(-1, descending=True)
            margin = group[0][:, gate.topk_group - 1] - group[0][:, gate.topk_group]
            kept = torch.zeros_like(group[0], dtype=bool).scatter(1, group[1][:, :gate.topk_group], True)
            score = grouped.masked_fill(~kept[:, :, None], float("-inf")).flatten(-2)
        top = score.sort(-1, descending=True)[0]
        self.margins.append(torch.minimum(margin, top[:, gate.top_k - 1] - top[:, gate.top_k]))

    def take(self):
        """Smallest margin over layers, [tokens of the last forward]."""
        margin = torch.stack(self.margins).amin(0)
        self.forget()
        return margin

    def forget(self):
        self.margins = []


@torch.no_grad()
def logits_of(model, ids):
    """Logits after every token of one sequence, [tokens, vocab]."""
    return model(torch.tensor([ids]), use_cache=False).logits[0].float()


@torch.no_grad()
def nll(model, ids):
    """Negative log-likelihood of ids[1:], summed, in float64."""
    logits = logits_of(model, ids)[:-1].double()
    return -logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None]).sum().item()


def round_activations(model):
    """Makes the float32 model round where a BF16 engine must: before each matrix, in the latent
    cache and after each norm. What it then differs by is BF16 arithmetic, not a defect."""

    def bf16(x):
        return x.to(torch.bfloat16).float()

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, args: (bf16(args[0]),))
        if name.endswith("layernorm") or name == "model.norm":
            module.register_forward_hook(lambda _, __, out: bf16(out))
        if name.endswith("kv_a_proj_with_mqa"):
            module.register_forward_hook(lambda _, __, out: bf16(out))
    return model

"""Trains the demo model with transformers' DeepseekV3ForCausalLM on a processor, until a given hour.

All schedules run on the wall clock: warm-up, constant rate, then linear decay to zero at the
deadline. The last part trains with experts rounded to INT4 in the forward pass (straight-through),
so that the shipped INT4 weights are the ones that were trained. Resumes from OUT/checkpoint.pt.
"""

import argparse
import datetime
import functools
import json
import multiprocessing
import os
import pathlib
import time

import torch
import transformers

import data_demo
import optim_demo
import tokenizer_demo

MODEL = dict(
    hidden_size=128, intermediate_size=256, moe_intermediate_size=64, num_hidden_layers=7,
    first_k_dense_replace=1, n_routed_experts=32, num_experts_per_tok=4, n_shared_experts=1,
    num_attention_heads=4, num_key_value_heads=4, q_lora_rank=64, kv_lora_rank=64,
    qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32, n_group=1, topk_group=1,
    norm_topk_prob=True, routed_scaling_factor=2.5, rms_norm_eps=1e-5, max_position_embeddings=2048,
    rope_theta=50000.0, tie_word_embeddings=False, initializer_range=0.02)
YARN = dict(factor=4.0, beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0,
            original_max_position_embeddings=512)
LONG_FROM, DECAY_FROM, INT4_FROM = 0.72, 0.50, 0.86
MUON_RATE, BIAS_RATE = 0.02, 2e-3
RANKS, REPORT = 2, 20


def build_model(vocab_size):
    config = transformers.DeepseekV3Config(
        vocab_size=vocab_size, **MODEL, rope_scaling={"type": "yarn", "rope_type": "yarn", **YARN})
    config._experts_implementation = "grouped_mm"
    return transformers.DeepseekV3ForCausalLM(config)


@torch.no_grad()
def initialize(model):
    """Scaled normal weights; the head starts at zero, output projections small."""
    for name, p in model.named_parameters():
        if "lm_head" in name:
            p.zero_()
        elif "embed_tokens" in name:
            p.normal_(std=0.5)
        elif p.ndim > 1:
            small = 0.3 if name.endswith(("o_proj.weight", "down_proj.weight", "down_proj")) else 1.0
            p.normal_(std=0.6 * small / p.shape[-1] ** 0.5)


def round_int4(weights):
    """compressed-tensors' symmetric INT4 of groups of 32, quantised and back."""
    groups = weights.unflatten(-1, (-1, 32))
    scale = (groups.abs().amax(-1, keepdim=True) / 7.5).clamp_min(1e-8).bfloat16().float()
    return ((groups / scale).round().clamp(-8, 7) * scale).bfloat16().float().flatten(-2)


class LoadBalance:
    """Counts the tokens of each expert and moves the router's correction bias against the surplus."""

    def __init__(self, model, ranks=1):
        self.gates = [layer.mlp.gate for layer in model.model.layers if hasattr(layer.mlp, "gate")]
        self.loads = torch.zeros(ranks, len(self.gates), self.gates[0].num_experts).share_memory_()
        self.average = torch.zeros(self.loads.shape[1:])

    def watch(self, rank=0):
        for at, gate in enumerate(self.gates):
            gate.register_forward_hook(functools.partial(self.count, self.loads[rank, at]))
        return self

    @staticmethod
    def count(load, _module, _inputs, output):
        load.add_(torch.bincount(output[2].flatten(), minlength=len(load)))

    def step(self, rate):
        loads = self.loads.sum(0)
        for gate, load in zip(self.gates, loads):
            gate.e_score_correction_bias += rate * torch.sign(load.mean() - load)
        self.average.lerp_(loads / loads.mean(-1, keepdim=True), 0.05)
        self.loads.zero_()

    def text(self):
        return f"{self.average.min():.2f}..{self.average.max():.2f}"


def loss_of(model, ids, weights):
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none").view(ids.shape[0], -1)
    weights = weights[:, 1:]
    return (losses * weights).sum() / weights.sum(), losses.detach(), weights


def rate_at(done):
    return min(1.0, done / 0.015, max(0.0, (1 - done) / (1 - DECAY_FROM)))


class Trainer:
    """Two processes of one thread on shared weights: each computes gradients of its own batch, then
    updates its own half of the matrices. Barriers block without spinning, so a busy machine costs
    no more than its share."""

    def __init__(self, args):
        self.args = args
        hour, minute = map(int, args.deadline.split(":"))
        self.deadline = datetime.datetime.now().replace(hour=hour, minute=minute, second=0).timestamp()
        self.encoding = tokenizer_demo.load(args.tokenizer)
        self.data = data_demo.Data(args.corpus, self.encoding, args.seed, args.chats)
        self.model = build_model(self.encoding.n_vocab)
        initialize(self.model)
        self.model.share_memory()
        views, groups = optim_demo.split_parameters(self.model, MODEL["moe_intermediate_size"])
        self.muon = optim_demo.Muon(views)
        self.adam = torch.optim.Adam(groups, betas=(0.9, 0.95), fused=True)
        self.balance = LoadBalance(self.model, RANKS)
        self.parameters = list(self.model.parameters())
        self.experts = [p for p in self.parameters if p.ndim == 3]
        for buffer in self.muon.buffers:
            buffer.share_memory_()
        self.grads = [[torch.zeros_like(p).share_memory_() for p in self.parameters] for _ in range(RANKS)]
        self.losses = torch.zeros(RANKS).share_memory_()
        self.clock = torch.zeros(2, dtype=torch.float64).share_memory_()  # done, the same for both
        self.barrier = multiprocessing.get_context("fork").Barrier(RANKS)
        self.start, self.step, self.tokens = time.time(), 0, 0
        self.resume()

    def resume(self):
        self.path = self.args.out / "checkpoint.pt"
        if self.path.exists():
            state = torch.load(self.path)
            self.model.load_state_dict(state["model"])
            self.adam.load_state_dict(state["adam"])
            for buffer, saved in zip(self.muon.buffers, state["muon"]):
                buffer.copy_(saved)
            self.start, self.step, self.tokens = state["start"], state["step"], state["tokens"]
            print(f"resumed at step {self.step}", flush=True)

    def save(self):
        state = {"model": self.model.state_dict(), "adam": self.adam.state_dict(), "muon": self.muon.buffers,
                 "start": self.start, "step": self.step, "tokens": self.tokens}
        torch.save(state, self.path.with_suffix(".tmp"))
        os.replace(self.path.with_suffix(".tmp"), self.path)

    def gradients(self, rank, done):
        ids, weights = self.data.batch(self.args.tokens // RANKS, 512 if done >= LONG_FROM and self.args.tokens > 1024 else 256)
        masters = [p.data for p in self.experts]
        if done >= INT4_FROM:
            for p in self.experts:
                p.data = round_int4(p.data)
        loss = loss_of(self.model, ids, weights)[0]
        (loss / RANKS).backward()
        for p, master in zip(self.experts, masters):
            p.data = master
        for p, shared in zip(self.parameters, self.grads[rank]):
            shared.copy_(p.grad)
        self.losses[rank] = loss.item()

    def update(self, rank, rate):
        """Rank 0 also runs Adam and the router's bias."""
        mine = {id(p) for p, _ in self.muon.views[rank::RANKS]}
        if rank == 0:
            mine |= {id(p) for group in self.adam.param_groups for p in group["params"]}
        for at, p in enumerate(self.parameters):
            if id(p) in mine:
                p.grad.copy_(self.grads[0][at])
                for other in self.grads[1:]:
                    p.grad.add_(other[at])
        self.muon.step(MUON_RATE * rate, rank, RANKS)
        if rank == 0:
            groups = self.adam.param_groups
            torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
            for group in groups:
                group["lr"] = group["base"] * rate
            self.adam.step()
            self.balance.step(BIAS_RATE * max(rate, 0.02))

    def report(self, window, losses, done, rate):
        seconds = time.time() - window
        print(f"{time.strftime('%H:%M:%S')} step {self.step} done {done:.3f} tokens {self.tokens / 1e6:.2f}M loss"
              f" {sum(losses) / len(losses):.3f} rate {rate:.3f} int4 {int(done >= INT4_FROM)}"
              f" load {self.balance.text()} {REPORT * self.args.tokens / seconds:.0f} tok/s", flush=True)

    def run(self, rank):
        self.balance.watch(rank)
        self.data.rng.seed(1000 * self.args.seed + 10 * self.step + rank)
        window, last_save, losses = time.time(), time.time(), []
        while self.step < self.args.max_steps:
            if rank == 0:
                self.clock[0] = (time.time() - self.start) / (self.deadline - self.start)
            self.barrier.wait()
            done = self.clock[0].item()
            if done >= 1:
                break
            self.gradients(rank, done)
            self.barrier.wait()
            rate = rate_at(done)
            losses.append(self.losses.mean().item())
            self.update(rank, rate)
            self.model.zero_grad(set_to_none=True)
            self.step, self.tokens = self.step + 1, self.tokens + self.args.tokens
            self.barrier.wait()
            if rank == 0 and self.step % REPORT == 0:
                self.report(window, losses, done, rate)
                window, losses = time.time(), []
            if rank == 0 and time.time() - last_save > self.args.save_minutes * 60:
                last_save = time.time()
                self.save()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--deadline", required=True, help="HH:MM today, wall clock")
    parser.add_argument("--chats", default="chat", choices=tuple(data_demo.ROWS), help="which conversations")
    parser.add_argument("--tokens", type=int, default=2048, help="per step")
    parser.add_argument("--save-minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-steps", type=int, default=10**9)
    args = parser.parse_args()
    torch.set_num_threads(1)  # before anything else: a process with running threads must not fork
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(args)
    print(json.dumps({"parameters": sum(p.numel() for p in trainer.parameters), "tokens": trainer.data.summary(),
                      "transformers": transformers.__version__, "torch": torch.__version__}), flush=True)
    helpers = [multiprocessing.get_context("fork").Process(target=trainer.run, args=(rank,), daemon=True)
               for rank in range(1, RANKS)]
    for helper in helpers:
        helper.start()
    trainer.run(0)
    trainer.save()
    print(f"finished at {time.strftime('%H:%M:%S')} after {trainer.step} steps, {trainer.tokens} tokens", flush=True)
    for helper in helpers:
        helper.join()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Times one layer of routed INT4 experts in kt-kernel, by one of its two methods for weights of 4.5 bits.

Run by ./kt_kernel in an environment that holds numpy and the kt-kernel wheel; prints one JSON object.
RAWINT4 takes Kimi K2's own tensors, LLAMAFILE those of a GGUF in Q4_0. The extension module is driven
directly, as the package's own wrappers of these methods do it; they need torch only to hold tensors.
Before timing, one token is compared with the formula.
"""
import argparse
import importlib.util
import json
import pathlib
import sys
import time

import numpy as np

GROUP = 32  # inputs per scale
SOURCES = 4  # different experts; the layer holds its own copy of one of them for every expert


def load_extension():
    """The variant that kt-kernel itself chooses for this CPU, without the package's import of torch."""
    folder = next(p for p in map(pathlib.Path, sys.path) if (p / "kt_kernel" / "_cpu_detect.py").exists())
    spec = importlib.util.spec_from_file_location("kt_cpu_detect", folder / "kt_kernel" / "_cpu_detect.py")
    detect = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(detect)
    return detect.initialize()


def rawint4_class(extension):
    """The class that the package's wrapper would take: AVX-512 or AMX, then AVX-VNNI, then AVX2."""
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    names = ["AMXInt4_KGroup_MOE"] + ["AVXVNNI256RawInt4_MOE"] * ("avx_vnni" in flags) + ["AVX2RawInt4_MOE"]
    for name in names:
        if hasattr(extension.moe, name):
            return getattr(extension.moe, name)
    raise SystemExit(f"this build of kt-kernel has none of {', '.join(names)}")


def to_bf16(values: np.ndarray) -> np.ndarray:
    return (values.astype(np.float32).view(np.uint32) + 0x8000 >> 16).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


class RawInt4:
    """Nibbles (value + 8, the first input low) and BF16 scales, one per group, an array per expert."""

    def __init__(self, random, rows: int, inputs: int):
        self.nibbles = random.integers(0, 256, (rows, inputs // 2), np.uint8)
        self.scales = to_bf16(random_scales(random, rows, inputs))

    def dequantize(self) -> np.ndarray:
        values = np.stack([self.nibbles & 15, self.nibbles >> 4], axis=-1).reshape(len(self.nibbles), -1)
        return (values.astype(np.float32) - 8) * np.repeat(from_bf16(self.scales), GROUP, axis=1)

    @staticmethod
    def give(extension, config, sources: list[dict], experts: int):
        """Names the weights of all experts in the config; the layer and what must outlive it."""
        config.quant_config.bits, config.quant_config.group_size = 4, GROUP
        config.quant_config.zero_point = False
        kept = []
        for name in sources[0]:
            # Memory of its own for every expert: the layer may compute on these very arrays.
            matrices = [sources[e % SOURCES][name] for e in range(experts)]
            copies = [(m.nibbles.copy(), m.scales.copy()) for m in matrices]
            setattr(config, f"{name}_projs", [[nibbles.ctypes.data for nibbles, _ in copies]])
            setattr(config, f"{name}_scales", [[scales.ctypes.data for _, scales in copies]])
            kept.append(copies)
        return rawint4_class(extension)(config), kept


class Q40:
    """Blocks of an FP16 scale and 16 bytes; byte i holds input i low and input 16 + i high, as value + 8."""

    BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", GROUP // 2)])

    def __init__(self, random, rows: int, inputs: int):
        self.blocks = np.empty((rows, inputs // GROUP), self.BLOCK)
        self.blocks["scale"] = random_scales(random, rows, inputs)
        self.blocks["nibbles"] = random.integers(0, 256, self.blocks["nibbles"].shape, np.uint8)

    def dequantize(self) -> np.ndarray:
        nibbles, scales = self.blocks["nibbles"], self.blocks["scale"].astype(np.float32)
        values = np.concatenate([nibbles & 15, nibbles >> 4], axis=-1).astype(np.float32) - 8
        return (values * scales[..., None]).reshape(len(scales), -1)

    @staticmethod
    def give(extension, config, sources: list[dict], experts: int):
        config.m_block, config.group_min_len, config.group_max_len = 32, 10, config.max_len  # the wrapper's values
        types = extension.kvcache.ggml_type
        kept = []
        for name in sources[0]:
            blob = np.stack([sources[e % SOURCES][name].blocks for e in range(experts)])
            setattr(config, f"{name}_proj", blob.ctypes.data)
            setattr(config, f"{name}_type", types.Q4_0)
            kept.append(blob)
        config.hidden_type = types.BF16
        return extension.moe.MOE(config), kept


METHODS = {"RAWINT4": RawInt4, "LLAMAFILE": Q40}


def random_scales(random, rows: int, inputs: int) -> np.ndarray:
    """Of uniform nibbles, so that a matrix keeps the size of its input."""
    return inputs**-0.5 / 4.6 * random.uniform(0.75, 1.25, (rows, inputs // GROUP))


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


class Layer:
    def __init__(self, args, random):
        extension, self.variant = load_extension()
        pool = extension.WorkerPoolConfig()
        pool.subpool_count, pool.subpool_numa_map, pool.subpool_thread_count = 1, [0], [args.threads]
        self.cpu = extension.CPUInfer(pool)
        self.shape = (args.experts, args.top_k, args.hidden, args.intermediate)
        shapes = {"gate": (args.intermediate, args.hidden), "up": (args.intermediate, args.hidden),
                  "down": (args.hidden, args.intermediate)}
        self.sources = [{name: METHODS[args.method](random, *shape) for name, shape in shapes.items()}
                        for _ in range(SOURCES)]
        on_gpu = np.zeros(args.experts, np.uint8)
        config = extension.moe.MOEConfig(*self.shape, on_gpu.ctypes.data)
        config.layer_idx, config.pool, config.max_len = 0, self.cpu.backend_, max(args.tokens)
        self.moe, weights = METHODS[args.method].give(extension, config, self.sources, args.experts)
        order = np.arange(args.experts, dtype=np.int64)
        self.cpu.submit(self.moe.load_weights_task(order.ctypes.data))
        self.cpu.sync()
        self.kept = (config, on_gpu, order, weights)

    def forward(self, x: np.ndarray, ids: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
        """y (BF16) and seconds."""
        y = np.full_like(x, 0x7FC0)  # NaN, so that a row not written is seen
        count = np.array([len(x)], np.int32)
        start = time.perf_counter()
        self.cpu.submit(self.moe.forward_task(count.ctypes.data, ids.shape[1], ids.ctypes.data, weights.ctypes.data,
                                              x.ctypes.data, y.ctypes.data, False))
        self.cpu.sync()
        return y, time.perf_counter() - start

    def step(self, random, tokens: int):
        experts, top_k, hidden, _ = self.shape
        ids = np.stack([random.permutation(experts)[:top_k] for _ in range(tokens)]).astype(np.int64)
        weights = random.uniform(0.05, 0.2, ids.shape).astype(np.float32)
        return to_bf16(random.standard_normal((tokens, hidden))), ids, weights

    def error(self, random) -> float:
        """Of one token's result against the formula in float32, relative to its norm."""
        x, ids, weights = self.step(random, 1)
        y, _ = self.forward(x, ids, weights)
        expected = np.zeros(self.shape[2], np.float32)
        for expert, weight in zip(ids[0], weights[0]):
            matrices = {name: m.dequantize() for name, m in self.sources[expert % SOURCES].items()}
            row = from_bf16(x[0])
            expected += weight * (matrices["down"] @ (silu(matrices["gate"] @ row) * (matrices["up"] @ row)))
        return float(np.linalg.norm(from_bf16(y[0]) - expected) / np.linalg.norm(expected))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=METHODS, default="RAWINT4")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument("--experts", type=int, default=384)
    parser.add_argument("--top-k", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=7168)
    parser.add_argument("--intermediate", type=int, default=2048)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=2.0, help="of runs per case; slow cases take up to ten times as long")
    args = parser.parse_args()
    random = np.random.Generator(np.random.SFC64(1))
    layer = Layer(args, random)
    error = layer.error(random)
    if not error < 0.05:
        print(f"kt-kernel's result is off by {100 * error:.1f} % of its norm: expected under 5 %", file=sys.stderr)
        return 1
    cases = []
    for tokens in args.tokens:
        times, distinct = [], []
        while len(times) < 2 or sum(times) < (args.seconds if len(times) > 3 else 10 * args.seconds):
            x, ids, weights = layer.step(random, tokens)
            y, seconds = layer.forward(x, ids, weights)
            if not np.isfinite(from_bf16(y)).all():
                print(f"kt-kernel's result for {tokens} tokens is not finite", file=sys.stderr)
                return 1
            times.append(seconds)
            distinct.append(len(np.unique(ids)))
        print(f"{tokens} tokens: {' '.join(f'{1e3 * t:.1f}' for t in times[:8])} ms", file=sys.stderr, flush=True)
        cases.append({"tokens": tokens, "runs": len(times) - 1, "median_us": 1e6 * float(np.median(times[1:])),
                      "distinct_experts": float(np.mean(distinct))})
    print(json.dumps({"method": args.method, "variant": layer.variant, "class": type(layer.moe).__name__,
                      "error": error, "cases": cases}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The scripts of bench/peers without the peers: what they read, add up, print and return."""
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import stat
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ.get("TANDEM_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
FOLDER = SOURCE / "bench" / "peers"
sys.dont_write_bytecode = True
sys.path.insert(0, str(FOLDER))

import gguf_twin  # noqa: E402
import peers  # noqa: E402


def load_script(name: str):
    loader = importlib.machinery.SourceFileLoader(f"{name}_script", str(FOLDER / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


llama_cpp = load_script("llama_cpp")
kt_kernel = load_script("kt_kernel")

# The shape k2.6 cut to two layers.
CONFIG = {
    "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 2,
    "first_k_dense_replace": 1, "n_routed_experts": 384, "n_shared_experts": 1, "num_experts_per_tok": 8,
    "num_attention_heads": 64, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 16384,
}


def llama_bench_output(*tests) -> str:
    keys = ("n_prompt", "n_gen", "n_depth", "samples_ts")
    return json.dumps([dict(zip(keys, test)) for test in tests])


class GgufTwin(unittest.TestCase):
    def test_counts_weights_and_bytes_of_the_shape(self):
        tensors = gguf_twin.tensors(CONFIG)
        self.assertEqual(len({t.name for t in tensors}), len(tensors))
        routed = [t for t in tensors if "_exps." in t.name]
        self.assertEqual([t.name for t in routed],
                         [f"blk.1.ffn_{part}_exps.weight" for part in ("gate", "up", "down")])
        self.assertEqual(sum(t.size_bytes for t in routed), 384 * 3 * 7168 * 2048 * 18 // 32)
        attention = sum(t.weights for t in tensors if t.name.startswith("blk.0.attn") and t.dtype == "Q8_0")
        self.assertEqual(attention, 1536 * (7168 + 64 * 192) + 576 * 7168 + 64 * 256 * 512 + 7168 * 64 * 128)

    def test_a_token_reads_no_embedding_and_only_its_own_experts(self):
        tensors = gguf_twin.tensors(CONFIG)
        total = sum(t.size_bytes for t in tensors)
        experts = 384 * 3 * 7168 * 2048 * 18 // 32
        embedding = 16384 * 7168 * 34 // 32
        self.assertEqual(gguf_twin.read_bytes_per_token(CONFIG), total - embedding - experts * 376 // 384)

    def test_a_file_of_another_shape_is_not_taken_for_this_one(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.gguf"
            path.write_bytes(b"GGUF")
            self.assertFalse(gguf_twin.is_current(CONFIG, path))
            path.with_suffix(".json").write_text(json.dumps(gguf_twin._stamp(CONFIG)))
            self.assertTrue(gguf_twin.is_current(CONFIG, path))
            self.assertFalse(gguf_twin.is_current(CONFIG | {"vocab_size": 32}, path))


class LlamaCpp(unittest.TestCase):
    def test_takes_the_prompt_from_nothing_and_the_generation_behind_it(self):
        text = llama_bench_output((512, 0, 0, [50.0, 60.0]), (0, 32, 0, [9.0]), (512, 0, 512, [40.0]),
                                  (0, 32, 512, [8.0, 7.0]))
        self.assertEqual(llama_cpp.parse_llama_bench(text, 512, 32),
                         {"prefill": [50.0, 60.0], "decode": [8.0, 7.0]})

    def test_a_missing_case_is_an_error_that_names_it(self):
        with self.assertRaisesRegex(peers.PeerError, "decode"):
            llama_cpp.parse_llama_bench(llama_bench_output((512, 0, 0, [50.0]), (0, 32, 0, [9.0])), 512, 32)
        with self.assertRaisesRegex(peers.PeerError, "prefill"):
            llama_cpp.parse_llama_bench("[]", 512, 32)

    def test_ratio_is_against_the_best_peer_of_each_phase(self):
        result = {"read_bytes_per_token": 10**9, "roofline": {"read_gb_per_s": 40.0}, "engine": "x"}
        later = result | {"roofline": {"read_gb_per_s": 50.0}}
        summary = llama_cpp.summarize({
            "tandem": [{"prefill": [100.0], "decode": [20.0], "result": result},
                       {"prefill": [120.0], "decode": [20.0], "result": later}],
            "llama.cpp a": [{"prefill": [50.0, 60.0, 55.0], "decode": [5.0]}] * 2,
            "llama.cpp b": [{"prefill": [11.0], "decode": [10.0]}] * 2,
        }, peer_bytes_per_token=2 * 10**9)
        self.assertEqual(summary["tandem_over_best_peer"], {"prefill": 110 / 55, "decode": 2.0})
        self.assertEqual(summary["read_gb_per_s"], 50.0)
        self.assertAlmostEqual(summary["sides"]["llama.cpp b"]["decode_fraction_of_roofline"], 0.4)
        self.assertAlmostEqual(summary["sides"]["tandem"]["prefill_spread"], 20 / 110)
        self.assertIn("2.00 x", llama_cpp.to_text(summary).splitlines()[4])

    def test_wrong_usage_exits_with_2(self):
        with tempfile.TemporaryDirectory() as folder:
            for arguments in ([folder], [folder, "--rounds", "0"], []):
                with self.assertRaises(SystemExit) as caught, open(os.devnull, "w") as null:
                    stderr, sys.stderr = sys.stderr, null
                    try:
                        llama_cpp.main(arguments)
                    finally:
                        sys.stderr = stderr
                self.assertEqual(caught.exception.code, 2)

    def test_a_peer_that_cannot_be_had_exits_with_1_and_the_reason(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "config.json").write_text(json.dumps(CONFIG))
            python = folder / "work" / "venv" / "bin" / "python"  # stands in for one without a network
            python.parent.mkdir(parents=True)
            python.write_text("#!/bin/sh\necho no matching distribution >&2\nexit 1\n")
            python.chmod(python.stat().st_mode | stat.S_IXUSR)
            (python.parents[1] / "installs.txt").write_text("gguf==0.19.0 numpy")
            said = folder / "said"
            with said.open("w") as file:
                stderr, sys.stderr = sys.stderr, file
                try:
                    code = llama_cpp.main([name, "--work", str(folder / "work"), "--llama-bench", "/bin/false"])
                finally:
                    sys.stderr = stderr
            self.assertEqual(code, 1)
            self.assertIn("no matching distribution", said.read_text())


class KtKernel(unittest.TestCase):
    def test_finds_the_result_among_what_the_extension_prints(self):
        self.assertEqual(kt_kernel.parse_kt_layer('Hello\n{"cases": []}\nGoodbye\n'), {"cases": []})
        with self.assertRaises(peers.PeerError):
            kt_kernel.parse_kt_layer("Hello\n")

    def test_medians_over_turns_and_the_faster_method(self):
        def case(us):
            return {"tokens": 1, "median_us": us, "distinct_experts": 8.0, "roofline_gb_per_s": 35.0, "kernel": "avx2"}

        peer = {"variant": "avx2", "class": "MOE", "error": 0.004}
        summary = kt_kernel.summarize(
            {"tandem": [[case(10.0)], [case(30.0)], [case(20.0)]], "RAWINT4": [[case(80.0)]] * 3,
             "LLAMAFILE": [[case(40.0)]] * 3}, {"RAWINT4": peer, "LLAMAFILE": peer})
        row = summary["rows"][0]
        self.assertEqual(row["sides"]["tandem"]["us"], 20.0)
        self.assertEqual(row["best_peer_over_tandem"], 2.0)
        self.assertAlmostEqual(row["sides"]["RAWINT4"]["gb_per_s"], 8 * 24.772608e6 / 80e-6 / 1e9)
        self.assertIn("2.0 x", kt_kernel.to_text(summary))


class Table(unittest.TestCase):
    def test_columns_line_up(self):
        lines = peers.format_table(["a", "bbb"], [["long name", "1"], ["x", "22222"]]).splitlines()
        self.assertEqual(lines, ["a            bbb", "long name      1", "x          22222"])


if __name__ == "__main__":
    unittest.main()

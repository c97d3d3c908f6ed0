"""Not a test: prints what a batch gains, and what it costs beside the model.

  tests/e2e/batch_rates.py [MODEL]     TANDEM_BINARY_DIR, REQUESTS (256), TINY (10000), RUNS (3), MAX_TOKENS (32), THREADS (1),
                                       FLAGS (--kv-tokens 65536: what all three engines get)

1. The same requests as a batch, one by one, and from 8 clients of a server over gRPC: generated tokens per second
   (medians of RUNS, loading left out).
2. Tiny requests: the share of the time in which the engine computed nothing, and the peak of resident memory for a
   fifth of them and for all.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "service"))
import serving  # noqa: E402

serving.enter_venv()
MODEL = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else serving.demo_model()
REQUESTS = int(os.environ.get("REQUESTS", 256))
TINY = int(os.environ.get("TINY", 10000))
RUNS = int(os.environ.get("RUNS", 3))
MAX_TOKENS = int(os.environ.get("MAX_TOKENS", 32))
THREADS = int(os.environ.get("THREADS", 1))
ENGINE = os.environ.get("FLAGS", "--kv-tokens 65536").split()


def prompt(i):
    return f"Here is a story about a river, a house and number {i}. " + "It was a quiet day in the valley. " * 3


def write(path, bodies):
    with open(path, "w") as out:
        for i, body in enumerate(bodies):
            line = {"custom_id": f"r{i}", "method": "POST", "url": "/v1/completions", "body": {"model": "any", **body}}
            out.write(json.dumps(line) + "\n")


def batch(folder, name, bodies, *flags):
    """The report of a batch of these."""
    source, out, report = folder / f"{name}.in", folder / f"{name}.out", folder / f"{name}.json"
    write(source, bodies)
    for old in folder.glob(f"{name}.out*"):
        old.unlink()
    subprocess.run([serving.BINARY / "tandem", "--log-level", "error", "batch", "run", MODEL, source, "-o", out, "-q",
                    "--threads", str(THREADS), "--report", report, *ENGINE, *flags], check=True)
    return json.loads(report.read_text())


def bodies(n):
    return [{"prompt": prompt(i), "max_tokens": MAX_TOKENS, "temperature": 0} for i in range(n)]


def grpc_rate(n, clients):
    """Generated tokens per second of so many clients, each with one request at a time."""
    import grpc
    serving.import_grpc_stubs()
    from tandem.v1 import completion_pb2, generation_pb2, inference_pb2_grpc
    server = serving.Server(MODEL, *ENGINE, grpc=True, threads=THREADS)
    numbers, counts, lock = iter(range(n)), [], threading.Lock()

    def client():
        with grpc.insecure_channel(server.grpc) as channel:
            stub = inference_pb2_grpc.InferenceStub(channel)
            while True:
                with lock:
                    i = next(numbers, None)
                if i is None:
                    return
                answer = stub.Generate(completion_pb2.GenerateRequest(
                    text=prompt(i), sampling=generation_pb2.Sampling(temperature=0),
                    output=generation_pb2.OutputOptions(max_tokens=MAX_TOKENS)))
                tokens = [e.finish.usage.completion_tokens for e in answer if e.HasField("finish")]
                with lock:
                    counts.append(tokens[-1])

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = sum(counts) / (time.monotonic() - start)
    server.stop()
    return rate


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        whole, single, clients = [], [], []
        for run in range(RUNS):
            report = batch(folder, "whole", bodies(REQUESTS))
            whole.append(report["rates"]["generated_tok_per_s"])
            few = bodies(max(8, REQUESTS // 8))
            single.append(batch(folder, "single", few, "--max-sequences", "1", "--in-flight", "1")
                          ["rates"]["generated_tok_per_s"])
            clients.append(grpc_rate(REQUESTS // 2, 8))
        print(f"batch of {REQUESTS}: {statistics.median(whole):.0f} generated tok/s {[round(r) for r in whole]}, "
              f"{report['sequences_per_decode_step']['mean']:.0f} sequences a step, "
              f"outside the engine {100 * report['time']['outside_engine_s'] / report['wall_s']:.1f} %")
        print(f"one by one: {statistics.median(single):.0f} {[round(r) for r in single]}")
        print(f"8 clients over gRPC: {statistics.median(clients):.0f} {[round(r) for r in clients]}")
        for n in (TINY // 5, TINY) if TINY else ():
            tiny = [{"prompt": f"{i}", "max_tokens": 2, "temperature": 0} for i in range(n)]
            for flags in ([], ["--max-sequences", "1"]):
                report = batch(folder, "tiny", tiny, *flags)
                print(f"{n} tiny requests {' '.join(flags)}: {report['wall_s']:.1f} s, "
                      f"{report['rates']['requests_per_s']:.0f} requests/s, outside the engine "
                      f"{100 * report['time']['outside_engine_s'] / report['wall_s']:.1f} %, "
                      f"peak RSS {report['peak_rss_bytes'] / 1e6:.0f} MB")


if __name__ == "__main__":
    main()

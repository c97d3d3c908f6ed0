"""What the tests of outside clients share: the venv that has the clients, a model, and a `tandem serve` on it."""
import atexit
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

SOURCE = pathlib.Path(os.environ.get("TANDEM_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BINARY = pathlib.Path(os.environ.get("TANDEM_BINARY_DIR", SOURCE / "build" / "release"))
SKIPPED = 77  # as ctest knows it
_scratch = None


def enter_venv():
    """Goes on in build/venv, which tools/test makes, if it is there."""
    venv = SOURCE / "build" / "venv" / "bin" / "python"
    if venv.exists() and not sys.prefix.startswith(str(venv.parents[1])):
        os.execv(venv, [str(venv), *sys.argv])


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def scratch():
    """A folder that goes when the test ends."""
    global _scratch
    if _scratch is None:
        _scratch = pathlib.Path(tempfile.mkdtemp(prefix="tandem_client_"))
        atexit.register(shutil.rmtree, _scratch, ignore_errors=True)
    return _scratch


def synth_model(name, *flags):
    """A model with random weights."""
    folder = scratch() / name
    subprocess.run([BINARY / "tandem", "synth", folder, "--shape", "tiny", *flags], check=True, capture_output=True)
    return folder


def demo_model():
    """$TANDEM_TEST_MODEL, else the demo model, else a small random one."""
    if named := os.environ.get("TANDEM_TEST_MODEL"):
        return pathlib.Path(named)
    demo = SOURCE / "tools" / "demo" / "model"
    return demo if (demo / "config.json").exists() else synth_model("model")


def import_grpc_stubs():
    """Makes `tandem.v1` importable: generated from proto/, as a user's build would do it. Needs grpcio-tools."""
    import grpc_tools.protoc
    out = scratch() / "stubs"
    if out.exists():
        return
    out.mkdir()
    protos = sorted(str(path) for path in (SOURCE / "proto").rglob("*.proto"))
    arguments = ["protoc", f"-I{SOURCE / 'proto'}", f"--python_out={out}", f"--grpc_python_out={out}"]
    assert grpc_tools.protoc.main(arguments + protos) == 0, "protoc failed"
    sys.path.insert(0, str(out))


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


class Server:
    """`tandem serve` on free ports of loopback: `http` is its URL, `grpc` its address ("" if it has none), `name` the model's."""

    def __init__(self, model, *flags, grpc=False, threads=1):
        self.name = pathlib.Path(model).name
        self.process = subprocess.Popen(
            [BINARY / "tandem", "serve", model, "--grpc", "127.0.0.1:0" if grpc else "off", "--http", "127.0.0.1:0",
             "--quiet", "--threads", str(threads), *flags], stdout=subprocess.PIPE, text=True)
        self.grpc = self._address(r"listening on (\S+) \(gRPC") if grpc else ""
        self.http = self._address(r"listening on (http://\S+)")

    def _address(self, pattern):
        line = self.process.stdout.readline()
        match = re.match(pattern, line)
        if match is None:
            self.process.kill()
            raise AssertionError(f"the server says {line!r}; expected {pattern}")
        return match[1]

    def metric(self, name, **labels):
        """A metric of /metrics, summed over those of its labels that are not given."""
        with urllib.request.urlopen(self.http + "/metrics") as answer:
            text = answer.read().decode()
        values = [float(value) for found, value in re.findall(rf"^{name}(?:{{([^}}]*)}})? (\S+)$", text, re.M)
                  if all(f'{label}="{wanted}"' in found for label, wanted in labels.items())]
        assert values, f"/metrics has no {name} {labels}"
        return sum(values)

    def stop(self):
        """SIGTERM; the exit code has to be 0."""
        self.process.send_signal(signal.SIGTERM)
        with self.process:
            code = self.process.wait(timeout=60)
        assert code == 0, f"the server ended with {code}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

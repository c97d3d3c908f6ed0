"""A server on a model, and HTTP/1.1 exchanges with it over sockets of their own. Standard library only."""
import asyncio
import contextlib
import json
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("TANDEM_BINARY_DIR", ROOT / "build/release")) / "tandem"


class Broken(Exception):
    """The server did what it must not do."""


@contextlib.contextmanager
def serving(model, *flags):
    """Starts `tandem serve` of a model "m" with HTTP on a free port; gives process and port; ends it with SIGTERM."""
    server = subprocess.Popen(
        [BINARY, "serve", model, "--grpc", "off", "--http", "127.0.0.1:0", "--quiet", "--name", "m", *flags],
        stdout=subprocess.PIPE, text=True)
    try:
        for line in server.stdout:
            if match := re.match(r"listening on http://127\.0\.0\.1:(\d+)", line):
                yield server, int(match[1])
                break
        else:
            raise Broken("the server did not start")
        if server.poll() is not None:
            raise Broken(f"the server died: {server.returncode}")
    finally:
        server.terminate()
        code = server.wait(60)
    if code != 0:
        raise Broken(f"the server ended with {code}")


class Client:
    def __init__(self, port):
        self.port = port

    async def open(self, path, body=None, headers=None):
        """Sends a POST of `body`, or a GET without one, and reads the head of the answer."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        head = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}",
                "Connection: close"]
        if body is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + (body or b""))
        await self.writer.drain()
        line = (await self.reader.readline()).decode()
        if not line:
            raise Broken("the connection was closed without an answer")
        self.status = int(line.split()[1])
        self.headers = {}
        while (line := (await self.reader.readline()).decode().strip()):
            name, value = line.split(":", 1)
            self.headers[name.lower()] = value.strip()

    async def pieces(self):
        """The body, piece by piece."""
        if self.headers.get("transfer-encoding") == "chunked":
            while (size := int(await self.reader.readline(), 16)):
                yield (await self.reader.readexactly(size + 2))[:-2]
            return
        while (piece := await self.reader.read(65536)):
            yield piece

    async def whole(self):
        return b"".join([piece async for piece in self.pieces()])

    def close(self):
        self.writer.close()

    def abort(self):
        """Leaves without a word."""
        self.writer.transport.abort()


async def fetch(port, path, body=None, headers=None):
    """Status, headers and body of one exchange; `body` is sent as JSON, and JSON comes back decoded."""
    client = Client(port)
    await client.open(path, None if body is None else json.dumps(body).encode(), headers)
    answer = await client.whole()
    client.close()
    if client.headers.get("content-type", "").startswith("application/json"):
        answer = json.loads(answer)
    return client.status, client.headers, answer


async def metric(port, name, **labels):
    """A metric of /metrics, summed over those of its labels that are not given."""
    _, _, text = await fetch(port, "/metrics")
    values = [float(value) for found, value in re.findall(rf"^{name}(?:{{([^}}]*)}})? (\S+)$", text.decode(), re.M)
              if all(f'{label}="{wanted}"' in found for label, wanted in labels.items())]
    if not values:
        raise Broken(f"/metrics has no {name} {labels}")
    return sum(values)

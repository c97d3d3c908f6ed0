#!/usr/bin/env python3
"""Many streams for a long time, with cancels, slow readers and malformed requests among them.

Starts `tandem serve` on the demo model and checks that every answer that is read to its end is the one
its prompt has when it is asked alone, that bad requests are refused with a sentence, and that memory and
cache pages return to where they were.

  tests/e2e/http_soak.py [--seconds 600] [--streams 64]
"""
import argparse
import asyncio
import json
import pathlib
import random
import re
import sys
import time

from http_client import ROOT, Broken, Client, metric, serving

PROMPTS = ["What is a river?", "What is a mountain?", "Define: lamp", "Tell me of the sea.", "Was ist ein Haus?", "Hello!"]
N_PROMPTS = 24
BAD_BODIES = [
    b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model": "m", "messages": []}', b'{"model": "m", "messages": "x"}', b'{"model": "m", "messages": [{"role": 3}]}',
    b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "n": -1}',
    b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1e308}',
    b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": "hot"}',
    b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "stop": [""]}',
    b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "logit_bias": {"-1": 1}}',
    b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "no_such_field": 1}',
    b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema"}}',
    b'{"a":' * 1000, b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
]
BAD_BYTES = [
    b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\xa5", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"A" * 100_000,
]


def request(prompt, stream=True):
    return json.dumps({
        "model": "m", "messages": [{"role": "user", "content": prompt}], "stream": stream, "temperature": 0,
        "max_tokens": 48, "chat_template_kwargs": {"thinking": False},
    }).encode()


def text_of(stream):
    """The content of a stream of chat.completion.chunk events; None if it did not come to its end."""
    text, done = "", False
    for frame in stream.decode().split("\n\n"):
        if not frame.startswith("data: "):
            continue
        data = frame[len("data: "):]
        if data == "[DONE]":
            done = True
            continue
        event = json.loads(data)
        if "error" in event:
            raise Broken(f"an error within a stream: {event['error']}")
        for choice in event["choices"]:
            text += choice["delta"].get("content") or ""
    return text if done else None


class Soak:
    def __init__(self, port, pid, streams):
        self.port, self.pid, self.streams = port, pid, streams
        self.counts = {"answers": 0, "slow": 0, "cancelled": 0, "malformed": 0, "raw": 0, "busy": 0}
        self.failures = []

    async def ask(self, prompt):
        client = Client(self.port)
        await client.open("/v1/chat/completions", request(prompt))
        body = await client.whole()
        client.close()
        if client.status != 200:
            raise Broken(f"status {client.status}: {body[:300]!r}")
        return text_of(body)

    def resident_mb(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    async def read(self, rng, slow):
        prompt = rng.choice(self.prompts)
        client = Client(self.port)
        await client.open("/v1/chat/completions", request(prompt))
        if client.status in (429, 503):
            self.counts["busy"] += 1
            client.close()
            return await asyncio.sleep(0.2)
        body = b""
        async for piece in client.pieces():
            body += piece
            if slow:
                await asyncio.sleep(rng.uniform(0, 0.3))
        client.close()
        text = text_of(body)
        if text != self.expected[prompt]:
            raise Broken(f"{prompt!r}: {text!r} instead of {self.expected[prompt]!r}")
        self.counts["slow" if slow else "answers"] += 1

    async def cancel(self, rng):
        client = Client(self.port)
        await client.open("/v1/chat/completions", request(rng.choice(self.prompts), stream=rng.random() < 0.7))
        if rng.random() < 0.7:
            await client.reader.read(rng.randint(1, 2000))
        client.abort()
        self.counts["cancelled"] += 1

    async def cancel_unanswered(self, rng):
        """Leaves before the head of the answer has come."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = request(rng.choice(self.prompts), stream=False)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n" % (self.port, len(body)) + body)
        await writer.drain()
        await asyncio.sleep(rng.uniform(0, 0.2))
        writer.transport.abort()
        self.counts["cancelled"] += 1

    async def malformed(self, rng):
        body = rng.choice(BAD_BODIES)
        client = Client(self.port)
        await client.open("/v1/chat/completions", body)
        answer = await client.whole()
        client.close()
        if not 400 <= client.status < 500 or not json.loads(answer)["error"]["message"]:
            raise Broken(f"{body[:60]!r}: status {client.status}, {answer[:200]!r}")
        self.counts["malformed"] += 1

    async def raw(self, rng):
        data = rng.choice(BAD_BYTES).replace(b"HOST", b"127.0.0.1:%d" % self.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            writer.write_eof()
            await asyncio.wait_for(reader.read(4096), 20)
        except ConnectionError:
            pass  # refused outright
        writer.close()
        self.counts["raw"] += 1

    async def worker(self, number, until):
        rng = random.Random(number)
        kinds = [lambda: self.read(rng, False), lambda: self.read(rng, True), lambda: self.cancel(rng),
                 lambda: self.cancel_unanswered(rng), lambda: self.malformed(rng), lambda: self.raw(rng)]
        while time.monotonic() < until and len(self.failures) < 10:
            try:
                await asyncio.wait_for(rng.choices(kinds, [60, 8, 12, 6, 8, 6])[0](), 120)
            except (Broken, OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError, KeyError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    async def idle(self):
        for _ in range(300):
            if await metric(self.port, "tandem_kv_pages", state="used") == 0:
                return
            await asyncio.sleep(0.1)
        self.failures.append("pages of the cache are still held 30 s after the end")

    async def run(self, seconds):
        self.prompts = [f"{PROMPTS[i % len(PROMPTS)]} {'Please. ' * (i // len(PROMPTS))}" for i in range(N_PROMPTS)]
        self.expected = {prompt: await self.ask(prompt) for prompt in self.prompts}
        warm_up = min(60, seconds * 0.2)
        await asyncio.gather(*(self.worker(i, time.monotonic() + warm_up) for i in range(self.streams)))
        await self.idle()
        before = self.resident_mb()
        start = time.monotonic()
        await asyncio.gather(*(self.worker(1000 + i, start + seconds) for i in range(self.streams)))
        elapsed = time.monotonic() - start
        await self.idle()
        after = self.resident_mb()
        for prompt, text in self.expected.items():
            if await self.ask(prompt) != text:
                self.failures.append(f"{prompt!r} is answered otherwise than at the start")
        # Threads' arenas and buffers settle; a leak of 1 KB per request would be seen.
        requests = sum(self.counts.values())
        if after > before + max(16, requests / 1024):
            self.failures.append(f"resident memory grew from {before:.0f} to {after:.0f} MB")
        print(f"{elapsed:.0f} s, {self.streams} streams: {self.counts}; resident {before:.1f} -> {after:.1f} MB, "
              f"KV pages used: 0")
        for failure in self.failures:
            print("FAILED:", failure)
        return not self.failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--streams", type=int, default=64)
    args = parser.parse_args()
    try:
        with serving(ROOT / "tools/demo/model", "--kv-tokens", "16384") as (server, port):
            good = asyncio.run(Soak(port, server.pid, args.streams).run(args.seconds))
    except Broken as broken:
        sys.exit(f"FAILED: {broken}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

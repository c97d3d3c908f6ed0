"""A server that serves the web page's files as they lie in the source tree, and answers by a script: for what no model can be
made to say."""
import base64
import http.server
import json
import math
import pathlib
import threading
import time

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
LAYERS, EXPERTS = 60, 384


def chunk(**delta):
    finish = delta.pop("finish", None)
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def heat(turn):
    shares = bytearray()
    for layer in range(LAYERS):
        for expert in range(EXPERTS):
            wave = 1 + math.sin(expert * (layer + 3) * 0.37 + turn * 0.2) + (8 if (expert * 7 + layer * 13) % 41 == 0 else 0)
            shares.append(min(255, int(8 * wave)))
    hot = bytearray((LAYERS * EXPERTS + 7) // 8)
    for cell in range(LAYERS * EXPERTS):
        if shares[cell] > 72:
            hot[cell // 8] |= 1 << cell % 8
    return {"phase": "decode", "first_layer": 1, "layers": LAYERS, "experts": EXPERTS, "hits": 12345.5,
            "n_hot": sum(bin(b).count("1") for b in hot),
            "sixteenths_of_even_share": base64.b64encode(shares).decode(), "hot_bits": base64.b64encode(hot).decode()}


def look(turn):
    dense = [3.1] + [1.2 + 0.3 * math.sin(layer) for layer in range(LAYERS)]
    experts = [0] + [4 + 1.5 * math.sin(layer * 0.7) ** 2 for layer in range(LAYERS)]
    layers = {"steps": 100 + turn, "dense_ms": dense, "cpu_experts_ms": experts}
    return {"model": "kimi-k2.6", "engine": "61 layers, dense side cuda, 384 experts (top 8) int4 x int8 on amx",
            "up_s": 3723.5 + turn, "open_requests": 41, "batch": {"running": 32, "preemptions": 2},
            "queue": {"waiting": 9, "interactive": 1, "normal": 3, "batch": 5},
            "kv_pages": {"total": 16384, "used": 6021, "cached": 8333, "free": 2030, "evicted": 991},
            "tokens": {"generated": 30 * turn * (3 + turn % 2), "prompt": 900 * turn, "cached_prompt": 9000 * turn + 1},
            "rates": {"seconds": 5, "generated_per_s": 96.25, "prompt_per_s": 911, "cached_prompt_per_s": 9000,
                      "steps_per_s": 3.2},
            "steps": 17 * turn, "hot_hit_rate": {"prefill": 0.11, "decode": 0.234},
            "layers": {"prefill": {"steps": 0, "dense_ms": [], "cpu_experts_ms": []}, "decode": layers},
            "heat": heat(turn)}


TASK = {"task": "crawl/7", "owner": "<b>alice</b>", "budget": {"agents": 300, "steps": 4000, "tokens": 0}, "agents": 41,
        "steps": 1203, "running": 17, "prompt_tokens": 9_800_000, "cached_tokens": 9_400_000, "completion_tokens": 81_000}


class ScriptedServer:
    """`answer` makes from a request's body a list of what is to be sent: chunks, comments (":..."), numbers of seconds to wait,
    or (status, body) at once."""

    def __init__(self, page, key=None):
        self.page, self.key = pathlib.Path(page), key
        self.answer = lambda body: [chunk(content="Hello."), chunk(finish="stop")]
        self.bodies = []   # of chats, as they came
        self.cancelled = []  # tasks
        self.broken = 0      # streams that the client left
        self.turn = 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                server.get(self)

            def do_POST(self):
                server.post(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # a page that was closed
                pass

        self.http = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/"

    def send(self, to, status, body, kind="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        to.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(data), **headers}.items():
            to.send_header(name, str(value))
        to.end_headers()
        to.wfile.write(data)

    def refused(self, to):
        if self.key and to.headers.get("Authorization") != f"Bearer {self.key}":
            self.send(to, 401, {"error": {"message": "a key is needed"}})
            return True
        return False

    def get(self, to):
        path = to.path.split("?")[0]
        file = self.page / ("index.html" if path == "/" else path[1:])
        if file.parent == self.page and file.is_file():
            return self.send(to, 200, file.read_bytes(), TYPES[file.suffix], **{"Content-Security-Policy": POLICY})
        if self.refused(to):
            return None
        if path == "/v1/models":
            return self.send(to, 200, {"data": [{"id": "scripted"}]})
        if path == "/api/live":
            self.turn += 1
            return self.send(to, 200, look(self.turn))
        if path == "/api/tasks":
            return self.send(to, 200, {"tasks": [TASK]})
        return self.send(to, 404, {"error": {"message": "no such thing"}})

    def post(self, to, body):
        if self.refused(to):
            return
        if to.path.startswith("/api/task_cancel/"):
            self.cancelled.append(to.path.removeprefix("/api/task_cancel/"))
            return self.send(to, 200, {"cancelled_requests": 17})
        self.bodies.append(body)
        script = self.answer(body)
        if isinstance(script, tuple):
            status, told, *headers = script
            return self.send(to, status, told, **(headers[0] if headers else {}))
        to.send_response(200)
        to.send_header("Content-Type", "text/event-stream")
        to.send_header("Connection", "close")
        to.end_headers()
        try:
            for piece in script:
                if isinstance(piece, (int, float)):
                    time.sleep(piece)
                elif isinstance(piece, bytes):
                    to.wfile.write(piece)
                elif isinstance(piece, str):
                    to.wfile.write(f"{piece}\n\n".encode())
                else:
                    to.wfile.write(f"data: {json.dumps(piece, ensure_ascii=False)}\n\n".encode())
                to.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.broken += 1
        to.close_connection = True

    def stop(self):
        self.http.shutdown()

"""A local HTTP server with the faults of real ones, and a disk that is full."""

import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

STATUS = {"/403": 403, "/404": 404, "/503": 503}
HALF = ("/reset", "/short", "/stall")  # stop in the middle of the file


class Handler(BaseHTTPRequestHandler):
    """/FAULT/name gives the bytes of `name` with that fault; /once-FAULT/name only the first time.

    Ranges are answered, except below /norange; below /untagged there is no ETag.
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range", "")
        server.requests.append((self.path, asked))
        fault, _, name = self.path.rpartition("/")
        if fault.startswith("/once-"):
            is_first = [path for path, _ in server.requests].count(self.path) == 1
            fault = fault.replace("once-", "") if is_first else ""
        self.close_connection = fault in HALF or fault == "/hangup"
        if fault == "/silent":
            server.released.wait(30)
        elif fault == "/hangup":
            pass
        elif fault == "/loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif fault in STATUS:
            self.send_error(STATUS[fault])
        else:
            self.send_file(fault, server.files[name], asked)

    def send_file(self, fault: str, body: bytes, asked: str) -> None:
        tag = f'"{len(body)}-{body[:8].hex()}"'
        start = 0
        if asked and fault != "/norange" and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if fault != "/untagged":
            self.send_header("ETag", tag)
        kind = "text/html; charset=utf-8" if fault == "/html" else "application/octet-stream"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        body = body[start:]
        self.wfile.write(body[: len(body) // 2] if fault in HALF else body)
        self.wfile.flush()
        if fault == "/stall":
            self.server.released.wait(30)
        if fault == "/reset":  # closing with a linger of zero sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


class Server(ThreadingHTTPServer):
    """.files: name -> bytes, what it serves; .requests: the (path, range) it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.released = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that gives up is no error here


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 100,000 bytes."""
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr("common.downloads.PAUSE_SECONDS", 0.0)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()

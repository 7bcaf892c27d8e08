"""Stands between the operator and the API server, counts and names writes, and strikes after one of them."""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.integration.watch_faults import WatchFaults

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "accept-encoding"})
"""Not passed on; nor that answers may be compressed: they are read here."""


class CountingProxy:
    """A plain HTTP proxy in front of one API server. Leases are not counted: they are written by the clock."""

    def __init__(self, upstream: str, ca_file: Path, faults: WatchFaults | None = None) -> None:
        self.writes: list[str] = []
        """Each write that the API server has answered, in words."""
        self.faults = faults
        self.struck = False
        self._strike_after = ("", 0)
        self._strike: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._upstream = urlsplit(upstream)
        self._context = ssl.create_default_context(cafile=str(ca_file))
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["CountingProxy"]:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def strike(self, write: str, time: int, blow: Callable[[], None]) -> None:
        """Calls `blow` when the API server has answered this write so many times, before the operator hears of it."""
        self._strike_after, self._strike = (write, time), blow

    def kubeconfig(self, original: Path) -> Path:
        """A kubeconfig like the original, by way of this proxy."""
        document = yaml.safe_load(original.read_text())
        document["clusters"][0]["cluster"] = {"server": self.url}
        path = original.with_suffix(f".{self._server.server_port}.kubeconfig")
        path.write_text(yaml.safe_dump(document))
        return path

    # The handler's side

    def connect(self) -> http.client.HTTPSConnection:
        """A new connection to the API server."""
        host = self._upstream.hostname or ""
        return http.client.HTTPSConnection(host, self._upstream.port, context=self._context, timeout=400)

    def written(self, verb: str, path: str, body: bytes, status: int) -> None:
        """Told of a write that the API server has answered."""
        with self._lock:
            write = _described(verb, path, body)
            self.writes.append(write)
            if (write, self.writes.count(write)) == self._strike_after:
                self.struck = True
                self._strike()
        if self.faults is not None and status < 300:
            self.faults.written(verb, path, body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: CountingProxy

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        faults = self.proxy.faults
        path = self.path if faults is None else faults.asked(self.command, self.path, body)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in _HOP_BY_HOP}
        connection = self.proxy.connect()
        try:
            connection.request(self.command, path, body or None, headers)
            answer = connection.getresponse()
            if self.command in _WRITES and "/leases" not in self.path:
                self.proxy.written(self.command, self.path, body, answer.status)
            self._give_back(answer)
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # the operator is dead, or the server
        finally:
            connection.close()

    def _give_back(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in _HOP_BY_HOP:
                self.send_header(key, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        faults = self.proxy.faults if self.command == "GET" and answer.status == 200 else None
        if faults is not None and "watch=" in self.path:
            kind = self.path.partition("?")[0].rpartition("/")[2]
            faults.relay(kind, iter(answer.readline, b""), self._send, self._hang_up)
        elif faults is not None:
            body = answer.read()
            faults.listed(self.path, body)
            self._send(body)
        else:
            while chunk := answer.read1(65536):  # watches go on for minutes
                self._send(chunk)
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, chunk: bytes) -> None:
        self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        self.wfile.flush()

    def _hang_up(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        pass


def _described(verb: str, path: str, body: bytes) -> str:
    """A write in words: `PATCH finetunejobs/x/status Running 2`, `POST jobs x-2`, `POST events Started`."""
    about = path.partition("?")[0].partition("/namespaces/")[2].partition("/")[2]
    document: dict[str, Any] = json.loads(body) if body else {}
    status = document.get("status") or {}
    name = document.get("reason") or (document.get("metadata") or {}).get("name", "") if verb == "POST" else ""
    said = [verb, about, name, status.get("phase", ""), status.get("attempt", "")]
    return " ".join(str(part) for part in said if part)

"""A hub on the loopback interface: the few answers of the Hugging Face HTTP API that reading a data set needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "4e20de362430cd3b72f300e6b0f18e50e7166e08"
ID = "org/chats"
BROKEN = "org/broken"
TOKEN = "hf_secret"


class _Hub(BaseHTTPRequestHandler):
    """One private data set, whose files are those of a directory, at one commit."""

    files: Path
    seen: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        asked = json.loads(body).get("paths", []) if body.startswith(b"{") else []
        self._json([self._entry(path) for path in asked if (self.files / path).is_file()])

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.seen.append(path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._missing("RepoNotFound")
        if BROKEN in path:
            return self._answer(500, b"{}", {})
        if path.startswith(f"/datasets/{ID}/resolve/{COMMIT}/"):
            return self._file(path.split("/", 6)[6])
        if not path.startswith(f"/api/datasets/{ID}"):
            return self._missing("RepoNotFound")
        rest = path.removeprefix(f"/api/datasets/{ID}").strip("/")
        names = sorted(entry.name for entry in self.files.iterdir())
        if rest in ("", "revision/main", f"revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in names]
            return self._json({"id": ID, "sha": COMMIT, "private": True, "tags": [], "siblings": siblings})
        if rest.startswith("revision/"):
            return self._missing("RevisionNotFound")
        if rest == f"tree/{COMMIT}":
            return self._json([self._entry(name) for name in names])
        return self._missing("EntryNotFound")

    def _entry(self, path: str) -> dict[str, Any]:
        content = (self.files / path).read_bytes()
        return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _file(self, path: str) -> None:
        if not (self.files / path).is_file():
            return self._missing("EntryNotFound")
        content = (self.files / path).read_bytes()
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        self._answer(200, content, {"ETag": etag, "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})
        return None

    def _missing(self, code: str) -> None:
        self._answer(404, b"{}", {"X-Error-Code": code})

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def a_hub(files: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves a directory as the data set `org/chats`; gives its address and the paths that were asked for."""
    seen: list[str] = []
    handler = type("Handler", (_Hub,), {"files": files, "seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()

"""A person's wait for a job goes on beside a server that refuses watches for a while, and leaves it in peace."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes import client

from finetune_cli.steering import cluster
from finetune_cli.steering.cluster import ClusterJobs

JOB = {"metadata": {"name": "job", "namespace": "team", "resourceVersion": "7"}}


class Overloaded(BaseHTTPRequestHandler):
    """Answers for one job; the first watches are refused."""

    refusals: list[int]

    def do_GET(self) -> None:
        watching = "watch=" in self.path
        status = self.refusals.pop(0) if watching and self.refusals else 200
        event = {"type": "MODIFIED", "object": {**JOB, "watched": True}}
        body = json.dumps(event if watching else JOB).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def jobs() -> Iterator[ClusterJobs]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Overloaded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = client.Configuration(host=f"http://127.0.0.1:{server.server_address[1]}")
    with client.ApiClient(settings) as api:
        yield ClusterJobs(api, "team")
    server.shutdown()
    server.server_close()


def test_a_watch_that_is_refused_is_tried_again_later_and_later(
    jobs: ClusterJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(Overloaded, "refusals", [500, 410, 503, 504], raising=False)
    monkeypatch.setattr(cluster.time, "sleep", pauses.append)
    told = next(job for job in jobs.follow("job") if job.get("watched"))
    assert told["metadata"]["name"] == "job"
    assert pauses == [1.0, 2.0, 4.0]

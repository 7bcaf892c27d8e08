"""Asks a real API server for its verdict on FineTuneJobs, by REST as kubectl does with --validate=strict."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from kubernetes import client

Document = dict[str, Any]
JOBS = "/apis/finetune.dev/v1alpha1/namespaces/default/finetunejobs"


@dataclass(frozen=True)
class Answer:
    """What the server said: the stored object, or a Status with its message."""

    code: int
    body: Document

    @property
    def accepted(self) -> bool:
        return 200 <= self.code <= 299

    @property
    def message(self) -> str:
        return "" if self.accepted else str(self.body.get("message", ""))


@dataclass(frozen=True)
class Server:
    """A server that has the CRD."""

    version: str
    api: client.ApiClient

    def try_out(self, document: Document) -> Answer:
        """Create without storing."""
        return self._send("POST", JOBS, document, dry_run=True)

    def create(self, document: Document) -> Answer:
        return self._send("POST", JOBS, document)

    def replace(self, name: str, document: Document) -> Answer:
        """Replace without storing."""
        return self._send("PUT", f"{JOBS}/{name}", document, dry_run=True)

    def put_status(self, name: str, document: Document) -> Answer:
        return self._send("PUT", f"{JOBS}/{name}/status", document)

    def delete(self, name: str) -> Answer:
        return self._send("DELETE", f"{JOBS}/{name}", {})

    def _send(self, method: str, path: str, body: Document, *, dry_run: bool = False) -> Answer:
        query = [("fieldValidation", "Strict"), *([("dryRun", "All")] if dry_run else [])]
        if method == "DELETE":
            query = []
        request = self.api.param_serialize(
            method,
            path,
            query_params=query,
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=as_kubectl_sends(body),
            auth_settings=["BearerToken"],
        )
        answer = self.api.call_api(*request, _request_timeout=30)
        answer.read()
        return Answer(answer.status, json.loads(answer.data))


def as_kubectl_sends(value: Any) -> Any:
    """JSON as Go writes it: a number without a fraction is a whole number."""
    if isinstance(value, dict):
        return {name: as_kubectl_sends(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_kubectl_sends(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e18 else value

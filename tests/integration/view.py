"""What of all jobs is there, looked at once for many who wait; waits for nothing."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from kubernetes import client

LOOK_EVERY = 0.2
"""Seconds."""
Key = tuple[str, str]
"""Namespace and name."""


class View:
    """All FineTuneJobs and Jobs of a cluster, asked for once for all who look at the same time."""

    def __init__(self, api: client.ApiClient) -> None:
        self._custom = client.CustomObjectsApi(api)
        self._batch = client.BatchV1Api(api)
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._jobs: dict[Key, dict[str, Any]] = {}
        self._children: set[Key] = set()

    def job(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The job as it was a moment ago, or None."""
        return self.jobs().get((namespace, name))

    def jobs(self) -> dict[Key, dict[str, Any]]:
        """The FineTuneJobs."""
        with self._lock:
            self._look()
            return self._jobs

    def children(self) -> set[Key]:
        """The Jobs."""
        with self._lock:
            self._look()
            return self._children

    def _look(self) -> None:
        if time.monotonic() - self._asked < LOOK_EVERY:
            return
        found = self._custom.list_cluster_custom_object("finetune.dev", "v1alpha1", "finetunejobs")
        self._jobs = {_key(document): document for document in found["items"]}
        answer = self._batch.list_job_for_all_namespaces(_preload_content=False)
        self._children = {_key(document) for document in json.loads(answer.data)["items"]}
        self._asked = time.monotonic()


def _key(document: dict[str, Any]) -> Key:
    return document["metadata"]["namespace"], document["metadata"]["name"]

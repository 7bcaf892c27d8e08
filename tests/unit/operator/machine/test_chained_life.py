"""Two jobs, the second upon the first, with one write of the operator going wrong: every attempt has the same model."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_api.trainer_contract import EndKind
from finetune_operator.kube.protocol import FINE_TUNE_JOB, Document
from tests.builders.manifests import a_manifest

from .life import NAME, Life

SECOND = a_manifest().named("second").with_spec(model={"job": {"name": NAME}})


class Chain:
    """The first job finishes, the second crashes once, the first is deleted, the second finishes."""

    def __init__(self, fault: str | None = None, write: int = 0) -> None:
        self.life = Life()
        if fault is not None:
            self.life.connection.strike(fault, write)
        self.configs: list[Any] = []

    def run(self) -> dict[str, Any]:
        """The second job's status at the end."""
        self.life.api.create(FINE_TUNE_JOB, SECOND.document)
        self._end(NAME, EndKind.FINISHED)
        self._end("second", EndKind.INTERNAL_ERROR)
        self.life.delete_job(foreground=False)
        self._end("second", EndKind.FINISHED)
        self._until(lambda: self._status("second").get("phase") == "Succeeded")
        return self._status("second")

    def _end(self, job: str, kind: EndKind) -> None:
        self._until(lambda: bool(self._running(job)))
        (pod,) = self._running(job)
        self.configs += [self.life.cluster.trainers[pod].config] if job == "second" else []
        self.life.cluster.end(pod, kind)

    def _running(self, job: str) -> list[str]:
        running = [str(pod["metadata"]["name"]) for pod in self.life.cluster.running()]
        return [name for name in running if name.startswith(f"{job}-")]

    def _status(self, job: str) -> Document:
        return (self.life.api.find(FINE_TUNE_JOB, job) or {}).get("status") or {}

    def _until(self, reached: Any) -> None:
        for _ in range(60):
            self.life.flow()
            if reached():
                return
            self.life.pass_time(60)
        raise AssertionError(f"it never came to that: {self._status(NAME)} {self._status('second')}")


def ended(fault: str | None = None, write: int = 0) -> tuple[Chain, dict[str, Any], int]:
    chain = Chain(fault, write)
    try:
        status = chain.run()
        writes = chain.life.connection.writes
        assert chain.life.broken == []
        return chain, status, writes
    finally:
        chain.life.close()


@pytest.mark.parametrize("fault", ["crash before", "crash after", "conflict", "500", "timeout after"])
def test_every_attempt_begins_with_the_same_results(fault: str) -> None:
    whole, undisturbed, writes = ended()
    (fingerprint,) = {config.fingerprint for config in whole.configs}
    assert [entry["reason"] for entry in undisturbed["history"]] == ["Crash", "Finished"]
    for write in range(1, writes + 1):
        chain, status, _ = ended(fault, write)
        assert [config.fingerprint for config in chain.configs] == [fingerprint] * 2, f"{fault} {write}"
        assert status["effective"]["jobs"] == undisturbed["effective"]["jobs"], f"{fault} {write}"
        assert status["attempt"] == 2

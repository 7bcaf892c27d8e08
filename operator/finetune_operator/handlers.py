"""Kopf's side of the operator: it watches FineTuneJobs and hands them on. Only this file and __main__ import kopf."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import kopf

from .controller import Controller
from .kube.credentials import REREAD_SECONDS, Credentials
from .kube.protocol import FINE_TUNE_JOB


class Backoffs:
    """Pauses between tries of a failing request: growing, with jitter, without end, begun anew by each iteration."""

    def __iter__(self) -> Iterator[float]:
        pause = 0.5
        while True:
            yield pause * random.uniform(0.75, 1.25)
            pause = min(pause * 2, 30.0)


class NoDifferences(kopf.DiffBaseStorage):
    """Keeps no last state of objects: kopf copies each whole object twice to find differences that nobody asks for."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is stored."""


class NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: those of events have none, and kopf copies each object to take it out."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing is stored."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing is there."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Nothing is written to the object."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def settings() -> kopf.OperatorSettings:
    """Kopf as a source of events alone: it writes nothing, and no hiccup ends it."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.scanning.disabled = True
    made.peering.standalone = True
    made.networking.request_timeout = 60
    made.networking.connect_timeout = 10
    made.networking.error_backoffs = Backoffs()
    made.watching.server_timeout = 300
    made.watching.connect_timeout = 10
    made.watching.chunk_size = 500
    made.queueing.idle_timeout = 1.0
    made.persistence.diffbase_storage = NoDifferences()
    made.persistence.progress_storage = NoProgress()
    return made


def registry(controller: Controller, credentials: Credentials) -> kopf.OperatorRegistry:
    """The handlers: one login, and one event handler."""
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(
            server=credentials.server,
            ca_path=credentials.ca_file,
            insecure=credentials.insecure,
            token=await credentials.token(),
            certificate_path=credentials.client_certificate,
            private_key_path=credentials.client_key,
            expiration=_expiration(credentials),
        )

    async def hand_on(event: dict[str, Any], **_: Any) -> None:
        controller.take(FINE_TUNE_JOB, event["type"], event["object"])

    group, version = FINE_TUNE_JOB.api_version.split("/")
    kopf.on.event(group, version, FINE_TUNE_JOB.plural, id="job", registry=made)(cast(Any, hand_on))
    return made


def _expiration(credentials: Credentials) -> datetime | None:
    """When kopf has to ask again: tokens from files and programs change."""
    if credentials.static_token is not None or (credentials.token_file is None and credentials.login is None):
        return None
    return datetime.now(UTC) + timedelta(seconds=REREAD_SECONDS)

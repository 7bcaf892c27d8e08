"""Leadership by a Lease of coordination.k8s.io: wait for it, renew it, tell when it is lost; ends no process itself.

15 s long, renewed every 2 s, given up when 10 s went by without a renewal: the figures of Kubernetes' own components.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

import structlog

from .. import times
from ..errors import AlreadyExistsError, ConflictError, KubeError, LeaseLostError, NotFoundError
from .protocol import LEASE, Document, Kube

DURATION_SECONDS = 15
RENEW_WITHIN_SECONDS = 10.0
RETRY_SECONDS = 2.0
LOOK_SECONDS = 1.0
"""Between looks of one that waits: what it has seen a second late it counts a second longer."""
_MOMENT = 0.01
_log = structlog.get_logger(__name__)


class Lease:
    """One replica's view of the Lease."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], datetime] = times.now,
        seen: Callable[[], None] = lambda: None,
    ) -> None:
        """`seen` is called whenever a Lease was read that this replica has or waits for."""
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._tell_seen = seen
        self._held: Document | None = None
        self._seen: tuple[str, float] = ("", 0.0)
        """What another holder wrote last, and when (monotonic) it was first seen: clocks of machines differ."""

    async def acquire(self) -> None:
        """Returns once this replica leads."""
        waiting = False
        while not await self._try():
            if not waiting:
                _log.info("another replica leads; waiting for its Lease", lease=self._name)
            waiting = True
            await asyncio.sleep(min(LOOK_SECONDS, self._seconds_until_stale()))
        _log.info("this replica leads", lease=self._name, identity=self._identity)

    async def hold(self) -> None:
        """Renews until cancelled. Raises LeaseLostError when that fails for too long, or another replica took over."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            left = RENEW_WITHIN_SECONDS - (time.monotonic() - renewed)
            try:
                async with asyncio.timeout(max(0.1, left)):
                    await self._write(self._identity)
                renewed = time.monotonic()
            except (ConflictError, NotFoundError) as error:
                raise LeaseLostError(f"the Lease {self._name} was taken: {error}") from None
            except (KubeError, TimeoutError) as error:
                _log.warning("the Lease was not renewed", error=str(error) or "timeout")
            if time.monotonic() - renewed >= RENEW_WITHIN_SECONDS:
                raise LeaseLostError(f"the Lease {self._name} could not be renewed for {RENEW_WITHIN_SECONDS:.0f} s")

    async def release(self) -> None:
        """Lets the next replica go on at once."""
        if self._held is not None:
            try:
                await self._write("")
            except KubeError as error:
                _log.warning("the Lease was not given back", error=str(error))

    def _seconds_until_stale(self) -> float:
        """Seconds until the holder has been silent for too long, or until the next look where it has been."""
        left = self._seen[1] + DURATION_SECONDS - time.monotonic()
        return left if left > _MOMENT else LOOK_SECONDS

    async def _try(self) -> bool:
        try:
            found = await self._kube.get(LEASE, self._namespace, self._name)
        except NotFoundError:
            return await self._create()
        except KubeError as error:
            _log.warning("the Lease cannot be read", error=str(error))
            return False
        self._tell_seen()
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        written = f"{holder} {spec.get('renewTime')}"
        if written != self._seen[0]:
            self._seen = (written, time.monotonic())
        stale = time.monotonic() - self._seen[1] >= (spec.get("leaseDurationSeconds") or DURATION_SECONDS)
        if holder not in ("", self._identity) and not stale:
            return False
        self._held = found
        try:
            await self._write(self._identity)
        except KubeError as error:
            _log.info("the Lease went to another", error=str(error))
            self._held = None
            return False
        return True

    async def _create(self) -> bool:
        document = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec(self._identity, {}),
        }
        try:
            self._held = await self._kube.create(LEASE, document)
        except AlreadyExistsError:
            return False
        except KubeError as error:
            _log.warning("the Lease cannot be made", error=str(error))
            return False
        return True

    async def _write(self, holder: str) -> None:
        assert self._held is not None
        spec = self._spec(holder, self._held.get("spec") or {})
        self._held = await self._kube.replace(LEASE, {**self._held, "spec": spec})

    def _spec(self, holder: str, before: Document) -> Document:
        now = times.micro_text(self._clock())
        changed = before.get("holderIdentity") != holder
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": DURATION_SECONDS if holder else 1,
            "renewTime": now,
            "acquireTime": now if changed else before.get("acquireTime", now),
            "leaseTransitions": (before.get("leaseTransitions") or 0) + (1 if changed and holder else 0),
        }

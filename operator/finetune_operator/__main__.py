"""The operator's process: settings, connection, Lease, watches, workers, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

import kopf
import structlog
import uvloop

from . import handlers, logs, metrics, names
from .controller import Controller
from .errors import CredentialsError, KubeError, LeaseLostError
from .kube import credentials as kube_credentials
from .kube.client import ApiServer
from .kube.credentials import Credentials
from .kube.lease import Lease
from .kube.protocol import FINE_TUNE_JOB, JOB, POD
from .kube.resync import resync
from .kube.watch import Watch, tell_all
from .probes import Health, serve
from .settings import Settings

FLUSH_SECONDS = 5.0
COLLECT_AFTER = 50_000
"""New objects between two looks for cycles: at 700, Python's own figure, a listing of thousands is looked through again
and again while it is parsed."""
FIRST_LOOK_SECONDS = 30.0
_log = structlog.get_logger(__name__)


def main() -> None:
    """Runs until SIGTERM or SIGINT. Exits with 1 on the loss of the Lease, 2 where no cluster can be reached."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)
    settings = Settings()
    logs.configure(settings.log_level)
    try:
        uvloop.run(_Process(settings).run())
    except CredentialsError as error:
        _log.error(str(error))
        sys.exit(2)
    except LeaseLostError as error:
        _log.error(str(error))
        sys.exit(1)


class _Process:
    """One replica, from its connection to its end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._credentials: Credentials = kube_credentials.find(settings.kubeconfig)
        self._health = Health()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        settings = self._settings
        self._listen_to_signals()
        proxy = settings.progress == "Proxy" or (settings.progress == "Auto" and not self._credentials.inside)
        kube = ApiServer(self._credentials, through_proxy=proxy)
        probes = await serve(self._health, settings.probe_host, settings.probe_port)
        # Connections of its own: behind a burst of other requests a renewal would come too late.
        for_lease = ApiServer(self._credentials, through_proxy=proxy)
        lease = Lease(
            for_lease, settings.operator_namespace, settings.lease_name, settings.identity, seen=self._become_ready
        )
        try:
            if settings.lease:
                await self._first(lease.acquire())
            self._become_ready()
            if not self._stop.is_set():
                await self._lead(kube, Controller(kube, settings), lease.hold() if settings.lease else None)
        finally:
            if settings.lease:
                await lease.release()
            await probes.cleanup()
            await for_lease.close()
            await kube.close()

    def _become_ready(self) -> None:
        """It leads, or has seen whom it waits for: a second replica that could take over is well."""
        self._health.ready = True

    async def _lead(self, kube: ApiServer, controller: Controller, holding: Coroutine[Any, Any, None] | None) -> None:
        """Watches and works, until told to stop or until a part of it ends."""
        self._report(controller)
        namespaces = _namespaces(self._settings)
        children = [
            Watch(kube, controller, kind, namespace, names.SELECTOR) for kind in (JOB, POD) for namespace in namespaces
        ]
        work = [watch.run() for watch in children] + [
            resync(kube, controller, namespaces, self._settings.resync_seconds)
        ]
        work += [holding] if holding is not None else []
        # A job is looked at once all children are known: what is missing then need not be asked for.
        known = [watch.synced.wait() for watch in children]
        await self._first(*work, self._work(kube, controller, known))

    async def _work(self, kube: ApiServer, controller: Controller, known: list[Coroutine[Any, Any, Any]]) -> None:
        """Works on FineTuneJobs, once the children are known, and watches them."""
        await asyncio.gather(*known)
        working = asyncio.create_task(controller.run())
        try:
            await self._look_at_all(kube, controller)
            await self._watch_jobs(controller, working)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _look_at_all(self, kube: ApiServer, controller: Controller) -> None:
        """Looks at every job once before kopf begins: its own listing takes longer than all of this."""
        try:
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                for namespace in _namespaces(self._settings):
                    await tell_all(kube, controller, FINE_TUNE_JOB, namespace, "")
                await controller.queue.idle()
        except (KubeError, TimeoutError) as error:
            _log.info("kopf begins before all jobs were looked at", error=str(error) or "timeout")

    async def _watch_jobs(self, controller: Controller, working: asyncio.Task[None]) -> None:
        """Lets kopf watch, until told to stop or until a part of it ends."""
        watching = asyncio.Event()
        stop_watching = asyncio.Event()
        watches = asyncio.create_task(
            kopf.operator(
                registry=handlers.registry(controller, self._credentials),
                settings=handlers.settings(),
                clusterwide=not self._settings.namespaces,
                namespaces=self._settings.namespaces,
                # Without one kopf looks for the user's name, which a container's numeric user has not.
                identity=self._settings.identity,  # type: ignore[arg-type]  # kopf's private alias of str
                ready_flag=watching,
                stop_flag=stop_watching,
            )
        )
        try:
            await self._first(working, self._after(watching), watches)
        finally:
            # Kopf's end sweeps up every task of the loop, so that it comes last.
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await controller.announcer.flush()
            except TimeoutError:
                _log.warning("some events were not written in time")
            stop_watching.set()
            await asyncio.gather(watches, return_exceptions=True)

    async def _first(self, *work: Coroutine[Any, Any, Any] | asyncio.Task[Any]) -> None:
        """Waits for the first piece of work to end, or for the order to stop. Raises what that one raised."""
        tasks = [one if isinstance(one, asyncio.Task) else asyncio.create_task(one) for one in work]
        stop = asyncio.create_task(self._stop.wait())
        mine = [task for task, given in zip(tasks, work, strict=True) if task is not given]
        try:
            done, _ = await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in [*mine, stop]:
                task.cancel()
            await asyncio.gather(*mine, stop, return_exceptions=True)
        for task in done - {stop}:
            task.result()

    async def _after(self, watching: asyncio.Event) -> None:
        """Takes the signals back from kopf, which would end the watches before the work."""
        await watching.wait()
        self._listen_to_signals()
        _log.info("watching", namespaces=self._settings.namespaces or "all")
        await asyncio.Event().wait()

    def _listen_to_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    def _report(self, controller: Controller) -> None:
        """Connects probes and metrics to the controller."""
        self._health.longest_work = controller.queue.longest_work
        self._health.waiting = lambda: len(controller.queue)
        self._health.idle_seconds = lambda: time.monotonic() - controller.finished_at
        metrics.register(controller.phases, lambda: float(len(controller.queue)))
        metrics.LEADER.set(1)


def _namespaces(settings: Settings) -> list[str | None]:
    """What is served; None is everything."""
    return [*settings.namespaces] or [None]


if __name__ == "__main__":
    main()

"""Serves /healthz, /readyz and /metrics; only reports, restarts nothing itself."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

STUCK_SECONDS = 180.0
"""A reconcile makes a handful of requests of 30 s each at most: longer than this, a worker hangs."""


class Health:
    """What the probes answer from; filled in as the process gets on."""

    def __init__(self) -> None:
        self.ready = False
        """Leading, or waiting for a Lease that it has seen."""
        self.longest_work: Callable[[], float] = lambda: 0.0
        self.waiting: Callable[[], int] = lambda: 0
        self.idle_seconds: Callable[[], float] = lambda: 0.0

    def trouble(self) -> str | None:
        """Why the process should be restarted, or None."""
        if self.longest_work() > STUCK_SECONDS:
            return f"a reconcile has not ended for {self.longest_work():.0f} s"
        if self.waiting() and self.idle_seconds() > STUCK_SECONDS:
            return f"{self.waiting()} jobs wait and none was reconciled for {self.idle_seconds():.0f} s"
        return None


async def serve(health: Health, host: str, port: int) -> web.AppRunner:
    """Starts the server. The caller cleans the runner up."""

    async def healthz(_: web.Request) -> web.Response:
        trouble = health.trouble()
        said = trouble or f"ok, the last reconcile ended {health.idle_seconds():.1f} s ago"
        return web.Response(text=f"{said}\n", status=500 if trouble else 200)

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n" if health.ready else "starting\n", status=200 if health.ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner

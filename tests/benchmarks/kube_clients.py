"""Compares clients for the operator's hot path: CPU and wall time per call, and resident memory. No test: it prints.

    python -m tests.benchmarks.kube_clients [--calls 3000] [--at-once 16]

A local HTTP server in a process of its own answers every request with the same Job. Each client runs in a fresh
process and does what a reconcile does most: a GET of a Job and a merge patch of a status, in equal parts, 16 at a
time. Clients that are not installed are left out; `pip install kubernetes_asyncio lightkube kr8s` brings them in.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

NEEDED = {
    "ours (aiohttp)": "aiohttp",
    "kubernetes": "kubernetes",
    "kubernetes_asyncio": "kubernetes_asyncio",
    "lightkube": "lightkube",
    "kr8s": "kr8s",
}
JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {
        "name": "a-1",
        "namespace": "team",
        "uid": "0f0a5a6c-5a0c-4b43-8f0d-d1a1f0f1a111",
        "resourceVersion": "12345",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"finetune.dev/job": "a", "app.kubernetes.io/managed-by": "finetune-operator"},
    },
    "spec": {
        "completions": 1,
        "parallelism": 1,
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "x"}},
        "template": {
            "metadata": {"labels": {"finetune.dev/job": "a"}},
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {"name": "trainer", "image": "i", "env": [{"name": "FINETUNE_CONFIG", "value": "x" * 3000}]}
                ],
            },
        },
    },
    "status": {
        "active": 1,
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": [{"type": "Suspended", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    },
}
PATCH = {"status": {"active": 1}}
Call = Callable[[int], Awaitable[Any]]


def serve(port: Any) -> None:
    """Answers every request with the Job, until killed."""
    from aiohttp import web

    body = json.dumps(JOB).encode()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        if request.path == "/version":  # kr8s asks first
            return web.json_response({"gitVersion": "v1.34.4", "major": "1", "minor": "34"})
        return web.Response(body=body, content_type="application/json")

    async def run() -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


async def calls_of_ours(url: str) -> Call:
    from finetune_operator.kube.client import ApiServer
    from finetune_operator.kube.credentials import Credentials
    from finetune_operator.kube.protocol import JOB as KIND

    kube = ApiServer(Credentials(url, inside=False, static_token="t"), through_proxy=False)

    async def call(number: int) -> Any:
        if number % 2:
            return await kube.get(KIND, "team", "a-1")
        return await kube.patch_status(KIND, "team", "a-1", PATCH["status"], uid="u", version="1", manager="m")

    return call


async def calls_of_kubernetes(url: str) -> Call:
    from kubernetes import client

    configuration = client.Configuration()
    configuration.host = url
    batch = client.BatchV1Api(client.ApiClient(configuration))
    threads = ThreadPoolExecutor(16)

    def one(number: int) -> Any:
        if number % 2:
            return batch.read_namespaced_job("a-1", "team")
        return batch.patch_namespaced_job_status("a-1", "team", PATCH)

    async def call(number: int) -> Any:
        return await asyncio.get_running_loop().run_in_executor(threads, one, number)

    return call


async def calls_of_kubernetes_asyncio(url: str) -> Call:
    from kubernetes_asyncio import client

    configuration = client.Configuration()
    configuration.host = url
    batch = client.BatchV1Api(client.ApiClient(configuration))

    async def call(number: int) -> Any:
        if number % 2:
            return await batch.read_namespaced_job("a-1", "team")
        return await batch.patch_namespaced_job_status("a-1", "team", PATCH)

    return call


async def calls_of_lightkube(url: str) -> Call:
    from lightkube import AsyncClient, KubeConfig
    from lightkube.resources.batch_v1 import Job, JobStatus
    from lightkube.types import PatchType

    kube = AsyncClient(config=KubeConfig.from_dict(kubeconfig(url)), namespace="team")

    async def call(number: int) -> Any:
        if number % 2:
            return await kube.get(Job, "a-1")
        return await kube.patch(JobStatus, "a-1", PATCH, patch_type=PatchType.MERGE)

    return call


async def calls_of_kr8s(url: str) -> Call:
    import kr8s
    from kr8s.asyncio.objects import Job

    path = Path(tempfile.mkdtemp()) / "config"
    path.write_text(json.dumps(kubeconfig(url)))
    api = await kr8s.asyncio.api(kubeconfig=str(path))
    job = Job(JOB, api=api)

    async def call(number: int) -> Any:
        if number % 2:
            return await job.refresh()
        return await job.patch(PATCH, subresource="status")

    return call


def kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "current-context": "c",
    }


CLIENTS: dict[str, Callable[[str], Awaitable[Call]]] = {
    "ours (aiohttp)": calls_of_ours,
    "kubernetes": calls_of_kubernetes,
    "kubernetes_asyncio": calls_of_kubernetes_asyncio,
    "lightkube": calls_of_lightkube,
    "kr8s": calls_of_kr8s,
}


async def measure(name: str, url: str, count: int, at_once: int) -> dict[str, float]:
    """CPU and wall milliseconds per call, and the process's largest resident memory in MiB."""
    call = await CLIENTS[name](url)
    room = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with room:
            await call(number)

    await asyncio.gather(*(one(number) for number in range(200)))  # connections and first imports
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu": 1000 * cpu / count, "wall": 1000 * wall / count, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--one", nargs=2, metavar=("CLIENT", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asyncio.run(measure(*options.one, options.calls, options.at_once))), flush=True)
        os._exit(0)  # clients that are not closed complain; their end is not measured
    port = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(port,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{port.get(timeout=30)}"
    print(f"{'client':20} {'CPU ms/call':>12} {'ms/call':>9} {'MiB':>7}")
    first: dict[str, float] | None = None
    for name, module in NEEDED.items():
        if importlib.util.find_spec(module) is None:
            continue
        command = [sys.executable, "-m", "tests.benchmarks.kube_clients", "--one", name, url]
        command += ["--calls", str(options.calls), "--at-once", str(options.at_once)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{name:20} failed: {done.stderr.strip().splitlines()[-1:]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        first = first or found
        ratio = f"{found['cpu'] / first['cpu']:5.1f}x CPU"
        print(f"{name:20} {found['cpu']:12.3f} {found['wall']:9.3f} {found['memory']:7.1f}  {ratio}")
    server.kill()


if __name__ == "__main__":
    main()

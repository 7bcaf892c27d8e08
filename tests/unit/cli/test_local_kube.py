"""Kubernetes on this machine: Jobs become processes, ends become statuses, deletions let a process save first."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from finetune_api.trainer_contract import TrainerConfig
from finetune_api.v1alpha1.defaults import PlatformDefaults, resolve
from finetune_api.v1alpha1.validation import parse_job
from finetune_operator.builders import job as job_builder
from finetune_operator.builders.attempt import Attempt
from finetune_operator.errors import AlreadyExistsError, ConflictError, NoProgressError, NotFoundError
from finetune_operator.kube.local import Directories, LocalKube
from finetune_operator.kube.local.devices import gpus
from finetune_operator.kube.local.environment import Place, localized
from finetune_operator.kube.local.store import load
from finetune_operator.kube.local.volumes import MountedPaths
from finetune_operator.kube.protocol import CLAIM, CONFIG_MAP, FINE_TUNE_JOB, JOB, POD, Document
from finetune_operator.settings import Settings
from tests.builders.manifests import JobManifest, a_manifest

SAYS_ITS_NODE = """
import os, pathlib
pathlib.Path(os.environ["FINETUNE_TERMINATION_MESSAGE"]).write_text(
    " ".join(os.environ[name] for name in ("PET_NODE_RANK", "FINETUNE_GANG_TOKEN") if name in os.environ)
)
"""
FAILS = "import sys; sys.exit(10)"
WAITS_AND_SAVES = """
import signal, sys, time, pathlib
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path("saved").touch(), sys.exit(14)))
pathlib.Path("ready").touch()
time.sleep(600)
"""
DEAF = """
import signal, time, pathlib
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("ready").touch()
time.sleep(600)
"""
FIRST_FAILS_OTHERS_WAIT = f"""
import os, time, pathlib, sys
if os.environ["PET_NODE_RANK"] == "0":
    while not pathlib.Path("ready").exists(): time.sleep(0.02)
    sys.exit(13)
{WAITS_AND_SAVES}
"""


class Machine:
    """A LocalKube whose trainers run a small program in place of the supervisor."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "out" / ".finetune" / "python-coder" / "job.json"
        self.directories = Directories(root / "out", {"models": root, "datasets": root}, {"given": root})
        self.seen: list[tuple[str, str]] = []
        self.kube = self.running(SAYS_ITS_NODE)

    def running(self, program: str) -> LocalKube:
        self.kube = LocalKube(self.directories, self.state, command=[sys.executable, "-c", program])
        self.kube.listen(lambda kind, change, document: self.seen.append((kind.name, change)))
        return self.kube

    def job(self, manifest: JobManifest, grace: int = 30) -> Document:
        attempt = attempt_of(manifest)
        built = job_builder.build(attempt, Settings())
        built["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = grace
        return built

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():  # noqa: ASYNC110 - what is awaited is a file of another process as often as an object
                await asyncio.sleep(0.01)

    def status(self, name: str = "python-coder-1") -> dict[str, Any]:
        status: dict[str, Any] = self.kube.store.get(JOB, "default", name).get("status", {})
        return status

    def conditions(self) -> dict[str, str]:
        return {condition["type"]: condition["reason"] for condition in self.status().get("conditions", ())}


def attempt_of(manifest: JobManifest) -> Attempt:
    spec = resolve(parse_job(manifest.document).spec, PlatformDefaults(storage_size="1Gi")).spec
    return Attempt(manifest.name, "default", "uid", 1, spec, "image")


@pytest_asyncio.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    monkeypatch.chdir(tmp_path)
    made = Machine(tmp_path)
    yield made
    await made.kube.close()


async def test_a_job_of_two_nodes_completes_with_a_message_from_each(machine: Machine) -> None:
    await machine.kube.create(JOB, machine.job(a_manifest().on_nodes(2)))

    await machine.until(lambda: "Complete" in machine.conditions())

    pods = await machine.kube.list(POD, "default", "batch.kubernetes.io/job-name=python-coder-1")
    ends = [pod["status"]["containerStatuses"][0]["state"]["terminated"] for pod in pods]
    uid = pods[0]["metadata"]["ownerReferences"][0]["uid"]
    assert [end["message"] for end in ends] == [f"0 {uid}", f"1 {uid}"], "what they know one another by"
    assert [end["exitCode"] for end in ends] == [0, 0]
    assert machine.status()["succeeded"] == 2


async def test_an_exit_code_of_the_policy_fails_the_job_by_the_policy(machine: Machine) -> None:
    await machine.running(FAILS).create(JOB, machine.job(a_manifest()))

    await machine.until(lambda: "Failed" in machine.conditions())

    assert machine.conditions() == {"Failed": "PodFailurePolicy"}


async def test_the_death_of_one_node_ends_the_others_and_lets_them_save(machine: Machine) -> None:
    await machine.running(FIRST_FAILS_OTHERS_WAIT).create(JOB, machine.job(a_manifest().on_nodes(2)))

    await machine.until(lambda: "Failed" in machine.conditions())

    assert (machine.root / "saved").exists()
    assert machine.status()["failed"] == 2


async def test_a_deleted_job_saves_and_is_gone_with_its_pods(machine: Machine) -> None:
    stored = await machine.running(WAITS_AND_SAVES).create(JOB, machine.job(a_manifest()))
    await machine.until((machine.root / "ready").exists)

    await machine.kube.delete(JOB, "default", "python-coder-1", uid=stored["metadata"]["uid"])
    assert "deletionTimestamp" in (await machine.kube.get(JOB, "default", "python-coder-1"))["metadata"]
    await machine.until(lambda: ("Job", "DELETED") in machine.seen)

    assert (machine.root / "saved").exists()
    assert machine.seen.index(("Pod", "DELETED")) < machine.seen.index(("Job", "DELETED"))
    assert not await machine.kube.exists(POD, "default", "python-coder-1-0")


async def test_a_process_that_does_not_listen_is_killed_after_its_grace(machine: Machine) -> None:
    stored = await machine.running(DEAF).create(JOB, machine.job(a_manifest(), grace=1))
    await machine.until((machine.root / "ready").exists)

    await machine.kube.delete(JOB, "default", "python-coder-1", uid=stored["metadata"]["uid"])

    await machine.until(lambda: ("Job", "DELETED") in machine.seen)


async def test_a_pod_deleted_by_hand_fails_its_job(machine: Machine) -> None:
    await machine.running(WAITS_AND_SAVES).create(JOB, machine.job(a_manifest()))
    await machine.until((machine.root / "ready").exists)
    pod = await machine.kube.get(POD, "default", "python-coder-1-0")

    await machine.kube.delete(POD, "default", "python-coder-1-0", uid=pod["metadata"]["uid"])
    await machine.until(lambda: "Failed" in machine.conditions())

    assert machine.conditions() == {"Failed": "BackoffLimitExceeded"}


async def test_a_delete_with_another_uid_does_nothing(machine: Machine) -> None:
    await machine.running(WAITS_AND_SAVES).create(JOB, machine.job(a_manifest()))

    await machine.kube.delete(JOB, "default", "python-coder-1", uid="another")

    assert "deletionTimestamp" not in (await machine.kube.get(JOB, "default", "python-coder-1"))["metadata"]


async def test_names_versions_and_uids_are_guarded_as_by_an_api_server(machine: Machine) -> None:
    kube = machine.kube
    document = a_manifest().document
    document["metadata"]["namespace"] = "default"
    stored = await kube.create(FINE_TUNE_JOB, document)
    uid, version = stored["metadata"]["uid"], stored["metadata"]["resourceVersion"]

    with pytest.raises(AlreadyExistsError):
        await kube.create(FINE_TUNE_JOB, document)
    patch = {"phase": "Running", "attempt": 1}
    changed = await kube.patch_status(
        FINE_TUNE_JOB, "default", "python-coder", patch, uid=uid, version=version, manager="m"
    )
    assert changed["metadata"]["generation"] == 1
    for bad_uid, bad_version in ((uid, version), ("another", changed["metadata"]["resourceVersion"])):
        with pytest.raises(ConflictError):
            await kube.patch_status(
                FINE_TUNE_JOB, "default", "python-coder", patch, uid=bad_uid, version=bad_version, manager="m"
            )
    with pytest.raises(ConflictError):
        await kube.replace(FINE_TUNE_JOB, stored)
    with pytest.raises(NotFoundError):
        await kube.get(FINE_TUNE_JOB, "default", "other")


async def test_a_null_in_a_status_removes_and_the_object_outlives_the_run(machine: Machine) -> None:
    document = a_manifest().document
    document["metadata"]["namespace"] = "default"
    stored = await machine.kube.create(FINE_TUNE_JOB, document)
    for status in ({"phase": "Running", "failure": {"reason": "X"}}, {"failure": None}):
        metadata = stored["metadata"]
        stored = await machine.kube.patch_status(
            FINE_TUNE_JOB, "default", "python-coder", status,
            uid=metadata["uid"], version=metadata["resourceVersion"], manager="m",
        )  # fmt: skip

    assert stored["status"] == {"phase": "Running"}
    assert load(machine.state) == stored


async def test_given_directories_are_claims_and_config_maps(machine: Machine) -> None:
    assert await machine.kube.exists(CLAIM, "default", "models")
    assert await machine.kube.exists(CONFIG_MAP, "default", "given")
    assert not await machine.kube.exists(CONFIG_MAP, "default", "other")


async def test_a_pod_that_has_ended_tells_no_progress(machine: Machine) -> None:
    await machine.kube.create(JOB, machine.job(a_manifest()))
    await machine.until(lambda: "Complete" in machine.conditions())

    with pytest.raises(NoProgressError):
        await machine.kube.progress("default", "python-coder-1-0", "127.0.0.1")


@pytest.mark.parametrize(
    ("asked", "here", "processes", "accumulation", "device"),
    [
        (0, 0, 1, None, "CPU"),
        (4, 0, 1, 4, "Auto"),
        (4, 2, 2, 2, "CUDA"),
        (1, 1, 1, None, "CUDA"),
        (3, 2, 2, None, "CUDA"),
    ],
)
def test_fewer_devices_than_asked_for_keep_the_effective_batch(
    asked: int, here: int, processes: int, accumulation: int | None, device: str, tmp_path: Path
) -> None:
    config = config_of(a_manifest().with_spec(compute={"gpusPerNode": asked}))
    place = Place(MountedPaths({}), tmp_path / "message", 1, 2, 3, here)

    made = localized(config, place)

    assert made.world.processes_per_node == processes
    assert made.adaptation.gradient_accumulation_steps == accumulation
    assert made.world.device == device


def test_paths_of_the_pod_become_directories_here(tmp_path: Path) -> None:
    manifest = a_manifest()
    pod = job_builder.build(attempt_of(manifest), Settings())["spec"]["template"]["spec"]
    directories = Directories(tmp_path / "out", {"models": tmp_path / "m", "datasets": tmp_path / "d"})
    paths = MountedPaths.of(pod, directories, tmp_path / "scratch")

    made = localized(config_of(manifest), Place(paths, tmp_path / "message", 1, 2, 3, 0))

    assert made.mounts.output == str(tmp_path / "out" / "python-coder")
    assert made.mounts.claims == {"models": str(tmp_path / "m"), "datasets": str(tmp_path / "d")}


def test_devices_are_those_that_the_environment_leaves_visible(tmp_path: Path) -> None:
    nvidia = tmp_path / "gpus"
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (nvidia / name).mkdir(parents=True)

    assert gpus({}, nvidia, tmp_path) == 2
    assert gpus({"CUDA_VISIBLE_DEVICES": "1"}, nvidia, tmp_path) == 1
    assert gpus({"CUDA_VISIBLE_DEVICES": ""}, nvidia, tmp_path) == 0
    assert gpus({}, tmp_path / "none", tmp_path) == 0


def config_of(manifest: JobManifest) -> TrainerConfig:
    from finetune_operator.builders.environment import config

    return config(attempt_of(manifest))

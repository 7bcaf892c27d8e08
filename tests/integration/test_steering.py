"""`finetune pause`, `resume` and `cancel` against the real API server, as a person and a script use them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes import client

from finetune_cli.errors import Exit
from tests.builders.manifests import a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.pods import PodPlayer
from tests.integration.jobs import FINISHED, Jobs
from tests.integration.relay import Relay

JOB = "python-coder"
COMPLETING = {"_FINETUNE_COMPLETE": "complete_bash"}


class Finetune:
    """The command in the test's namespace, as the person that the kubeconfig names."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig = kubeconfig
        self._namespace = namespace

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        said, complained = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, said, complained)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [Path(sys.executable).with_name("finetune"), *arguments, "-n", self._namespace],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.fixture
def finetune(control_plane: ControlPlane, namespace: str) -> Finetune:
    return Finetune(control_plane.kubeconfig, namespace)


def running(jobs: Jobs, pods: PodPlayer) -> None:
    """A job whose first attempt runs; its pods save a checkpoint at step 120 when they are told to end."""
    jobs.apply(a_manifest())
    pods.always(pods.run)
    jobs.wait(JOB, "Running")
    pods.terminate_with(14, jobs.record(JOB, "Interrupted", step=120, checkpoint={"latest": {"step": 120}}))


@pytest.mark.usefixtures("operator")
def test_a_job_is_paused_and_resumed_and_asking_again_changes_nothing(
    jobs: Jobs, pods: PodPlayer, finetune: Finetune
) -> None:
    running(jobs, pods)

    paused = finetune("pause", JOB, "--wait")

    assert (paused.returncode, paused.stdout) == (0, f"{JOB} is paused at the checkpoint of step 120\n"), paused.stderr
    generation = jobs.get(JOB)["metadata"]["generation"]
    assert finetune("pause", JOB).stdout == paused.stdout
    assert jobs.get(JOB)["metadata"]["generation"] == generation

    resumed = finetune("resume", JOB, "--wait")

    assert (resumed.returncode, resumed.stdout) == (0, f"{JOB} is running\n"), resumed.stderr
    assert jobs.status(JOB)["attempt"] == 2
    assert finetune("resume", JOB).returncode == 0


@pytest.mark.usefixtures("operator")
def test_a_cancelled_job_says_what_is_kept_and_takes_no_other_wish(
    jobs: Jobs, pods: PodPlayer, finetune: Finetune
) -> None:
    running(jobs, pods)

    cancelled = finetune("cancel", JOB, "--wait")

    assert cancelled.returncode == 0, cancelled.stderr
    kept = f"the job with its record, and its checkpoints on claim results under {JOB}/"
    assert cancelled.stdout == f"{JOB} is cancelled at the checkpoint of step 120; kept: {kept}\n"
    assert jobs.status(JOB)["phase"] == "Cancelled"
    assert finetune("cancel", JOB, "--wait").returncode == 0
    for wish in ("pause", "resume"):
        refused = finetune(wish, JOB)
        assert refused.returncode == Exit.ENDED
        assert f"{JOB} has ended: Cancelled" in refused.stderr


@pytest.mark.usefixtures("operator")
def test_waiting_for_a_pause_ends_when_the_job_succeeds_first(jobs: Jobs, pods: PodPlayer, finetune: Finetune) -> None:
    running(jobs, pods)
    pods.terminate_with(0, jobs.record(JOB, "Finished", **FINISHED))

    paused = finetune("pause", JOB, "--wait")

    assert paused.returncode == Exit.ENDED
    assert f"error: {JOB} ended before that: Succeeded (Finished)" in paused.stderr


@pytest.mark.usefixtures("operator")
def test_a_wait_says_what_it_waits_for(jobs: Jobs, pods: PodPlayer, finetune: Finetune) -> None:
    jobs.apply(a_manifest().suspended())
    jobs.wait(JOB, "Suspended")
    pods.always(lambda pod: pods.stick(pod, "ImagePullBackOff", "no such image"))
    waiting = finetune.start("resume", JOB, "--wait")
    jobs.wait_condition(JOB, "Running", "ImagePullBackOff")

    (pod,) = pods.wait(job=f"{JOB}-1")
    pods.run(pod)
    said, complained = waiting.communicate(timeout=60)

    assert (waiting.returncode, said) == (0, f"{JOB} is running\n")
    assert "Starting: ImagePullBackOff: " in complained
    assert "no such image" in complained


@pytest.mark.usefixtures("operator")
def test_a_wait_outlasts_a_server_that_is_away_for_a_while(
    jobs: Jobs, pods: PodPlayer, finetune: Finetune, control_plane: ControlPlane, tmp_path: Path
) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait(job=f"{JOB}-1")
    server = urlsplit(control_plane.url)
    relay = Relay(server.hostname or "", server.port or 443)
    relay.open()
    document: dict[str, Any] = yaml.safe_load(control_plane.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
    through = tmp_path / "through-the-relay"
    through.write_text(json.dumps(document))
    waiting = finetune.start("resume", JOB, "--wait", KUBECONFIG=str(through))
    assert waiting.stderr is not None
    assert "Starting" in waiting.stderr.readline()

    relay.cut()
    pods.run(pod)
    jobs.wait(JOB, "Running")
    relay.open()

    said, complained = waiting.communicate(timeout=60)
    assert (waiting.returncode, said) == (0, f"{JOB} is running\n"), complained


def test_a_job_that_nobody_runs_is_asked_all_the_same(jobs: Jobs, finetune: Finetune) -> None:
    jobs.apply(a_manifest())

    paused = finetune("pause", JOB)

    assert (paused.returncode, paused.stdout) == (
        0,
        f"{JOB} is being paused: the trainer saves a checkpoint and ends\n",
    )
    assert jobs.get(JOB)["spec"]["suspend"] is True


def test_a_job_that_is_not_there_is_said_with_its_namespace(finetune: Finetune, namespace: str) -> None:
    asked = finetune("pause", "nobody")

    assert asked.returncode == Exit.NO_SUCH_JOB
    assert (
        asked.stderr == f"error: there is no FineTuneJob nobody in namespace {namespace}: give its namespace with -n\n"
    )


def test_rights_that_are_missing_are_named(
    jobs: Jobs, finetune: Finetune, control_plane: ControlPlane, namespace: str, api: client.ApiClient
) -> None:
    jobs.apply(a_manifest())
    account = {"metadata": {"name": "onlooker"}}
    client.CoreV1Api(api).create_namespaced_service_account(namespace, account)
    finetune.kubeconfig = control_plane.kubeconfig_for(namespace, "onlooker")

    asked = finetune("cancel", JOB)

    assert asked.returncode == Exit.NO_CLUSTER
    assert "the cluster does not allow it: finetunejobs.finetune.dev" in asked.stderr
    assert "cannot get resource" in asked.stderr


def test_no_kubeconfig_is_said_with_the_way_to_local_runs(finetune: Finetune, tmp_path: Path) -> None:
    asked = finetune("pause", JOB, KUBECONFIG=str(tmp_path / "none"), HOME=str(tmp_path))

    assert asked.returncode == Exit.NO_CLUSTER
    assert "no cluster to ask" in asked.stderr
    assert "add --output DIR" in asked.stderr


def test_a_server_that_does_not_answer_and_a_context_that_is_missing_are_said(
    finetune: Finetune, control_plane: ControlPlane, tmp_path: Path
) -> None:
    document: dict[str, Any] = yaml.safe_load(control_plane.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    unreachable = tmp_path / "unreachable"
    unreachable.write_text(json.dumps(document))

    silent = finetune("pause", JOB, KUBECONFIG=str(unreachable))
    unknown = finetune("pause", JOB, "--context", "moon")

    assert silent.returncode == unknown.returncode == Exit.NO_CLUSTER
    assert "https://127.0.0.1:9 does not answer" in silent.stderr
    assert "the kubeconfig has no context moon: it has " in unknown.stderr
    assert "Traceback" not in silent.stderr


def test_the_shell_completes_the_names_of_jobs(jobs: Jobs, finetune: Finetune, namespace: str) -> None:
    jobs.apply(a_manifest())

    completed = finetune(COMP_WORDS=f"finetune pause -n {namespace} pyth", COMP_CWORD="4", **COMPLETING)

    assert completed.stdout.split() == [JOB]

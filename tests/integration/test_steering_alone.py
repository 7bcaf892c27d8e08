"""`finetune pause`, `resume` and `cancel` where no operator answers, or no server, or nobody has the right to ask."""

import json
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from finetune_cli.errors import Exit
from tests.builders.manifests import a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.integration.finetune import Finetune
from tests.integration.jobs import JOB, Jobs

COMPLETING = {"_FINETUNE_COMPLETE": "complete_bash"}


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

"""`finetune pause`, `resume` and `cancel` against the real API server, as a person and a script use them."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from finetune_cli.errors import Exit
from tests.builders.manifests import a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.pods import PodPlayer
from tests.integration.finetune import Finetune
from tests.integration.jobs import FINISHED, JOB, Jobs
from tests.integration.relay import Relay

pytestmark = pytest.mark.usefixtures("operator")


def running(jobs: Jobs, pods: PodPlayer) -> None:
    """A job whose first attempt runs; its pods save a checkpoint at step 120 when they are told to end."""
    jobs.apply(a_manifest())
    pods.always(pods.run)
    jobs.wait(JOB, "Running")
    pods.terminate_with(14, jobs.record(JOB, "Interrupted", step=120, checkpoint={"latest": {"step": 120}}))


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


def test_waiting_for_a_pause_ends_when_the_job_succeeds_first(jobs: Jobs, pods: PodPlayer, finetune: Finetune) -> None:
    running(jobs, pods)
    pods.terminate_with(0, jobs.record(JOB, "Finished", **FINISHED))

    paused = finetune("pause", JOB, "--wait")

    assert paused.returncode == Exit.ENDED
    assert f"error: {JOB} ended before that: Succeeded (Finished)" in paused.stderr


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

"""What `finetune validate`, `render` and `run` say of jobs that begin with one another's results."""

from __future__ import annotations

from pathlib import Path

import yaml

from finetune_api.trainer_contract import TrainerConfig
from finetune_cli.errors import Exit
from tests.builders.manifests import JobManifest, a_manifest
from tests.unit.cli.test_commands import finetune

FIRST = a_manifest().named("first").with_spec(storage={"claim": {"name": "shared"}})
SECOND = a_manifest().named("second").with_spec(model={"job": {"name": "first"}})


def text(*manifests: JobManifest) -> str:
    return yaml.safe_dump_all([manifest.document for manifest in manifests])


def test_a_chain_of_jobs_is_valid() -> None:
    ended = finetune("validate", "-", given=text(FIRST, SECOND))
    assert ended.returncode == Exit.SUCCEEDED, ended.stderr


def test_a_job_that_names_itself_is_refused() -> None:
    ended = finetune("validate", "-", given=text(SECOND.named("first")))
    assert ended.returncode == Exit.INVALID
    assert "spec.model.job.name: model.job.name names the job itself" in ended.stderr


def test_jobs_that_wait_for_one_another_are_each_told_so() -> None:
    ended = finetune("validate", "-", given=text(FIRST.with_spec(model={"job": {"name": "second"}}), SECOND))
    assert ended.returncode == Exit.INVALID
    assert "first for second, second for first" in ended.stderr
    assert "second for first, first for second" in ended.stderr


def test_render_shows_what_stands_for_the_results_of_a_job_in_the_same_file() -> None:
    ended = finetune("render", "-", "--job", "second", given=text(FIRST, SECOND))
    assert ended.returncode == Exit.SUCCEEDED, ended.stderr
    alone = finetune("render", "-", given=text(FIRST)).stdout
    (results,) = [line for line in alone.splitlines() if line.startswith("# Results: ")]
    place = results.removeprefix("# Results: ").rstrip("/")
    assert f"It begins with what job first has made and waits for that: {place}/" in ended.stdout
    (child,) = [document for document in yaml.safe_load_all(ended.stdout) if document["kind"] == "Job"]
    pod = child["spec"]["template"]["spec"]
    config = TrainerConfig.decode(pod["containers"][0]["env"][0]["value"])
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["mountPath"] == config.mounts.jobs["first"]]
    assert f"shared:{mount['subPath']}" == place
    assert set(config.mounts.claims) == {"models", "datasets"}


def test_render_of_a_job_alone_says_what_is_not_known_yet() -> None:
    ended = finetune("render", "-", given=text(SECOND))
    assert "first-data:first/0000000000000000/" in ended.stdout


def test_a_run_without_the_results_of_the_job_before_it_does_not_start(tmp_path: Path) -> None:
    ended = finetune("run", "-", "--claim", "datasets=.", given=text(SECOND), at=tmp_path)
    assert ended.returncode == Exit.CANNOT_START
    assert "spec.model.job: no run of job first has left its results in out" in ended.stderr

"""Two live writers on one volume: the older is stopped before one of its changes, and goes on beside the newer."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from finetune_api.trainer_contract import EndKind
from finetune_trainer import checkpoints
from finetune_trainer.completion import read_metrics
from finetune_trainer.errors import FencedOff
from finetune_trainer.fencing import RunClaim

from .attempts import PATIENCE_SECONDS, AJob, Ranks
from .stopping import stop_before
from .test_resume import assert_same_end


def a_short_job(volume: Path, models: Path) -> AJob:
    """Five steps, each with a checkpoint."""
    return AJob.on(volume, models).with_spec(
        hyperparameters={"epochs": 1.0}, checkpoint={"everySteps": 1, "keep": 2, "keepBest": False}
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, models: Path, loaded_libraries: None) -> AJob:
    job = a_short_job(tmp_path_factory.mktemp("undisturbed"), models)
    Ranks(job).finish()
    return job


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory, models: Path, loaded_libraries: None) -> list[str]:
    """The changes that a run makes, each kind once, in the order in which they come first."""
    volume = tmp_path_factory.mktemp("points")
    job, listing = a_short_job(volume, models), volume / "changes"
    Ranks(job, before=stop_before(None, job.results.root, listing)).finish()
    return list(dict.fromkeys(listing.read_text().splitlines()))


def seen_by_others(point: str) -> bool:
    """Whether a change reaches out of the run's own workspace (or makes complete what is then moved out of it).

    Making a directory that is there already changes nothing.
    """
    event, *paths = point.split(" ")
    outside = any(not path.startswith(("work/N/", "cache/")) for path in paths)
    return event != "os.mkdir" and (outside or "manifest.json" in point)


def stopped(ranks: Ranks) -> None:
    """Waits until the only rank has been stopped."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(ranks.pids[0], os.WNOHANG | os.WUNTRACED)
        if done and os.WIFSTOPPED(status):
            return
        assert not done, f"it ended before it was stopped:\n{ranks.log()}"
        time.sleep(0.01)
    raise AssertionError(f"it was never stopped:\n{ranks.log()}")


def play(point: str, job: AJob, undisturbed: AJob) -> None:
    """Stops an older run before this change, starts a newer one, and lets the older go on beside it."""
    older = Ranks(job, before=stop_before(point, job.results.root, job.volume / "changes"))
    stopped(older)
    newer = Ranks(job)
    try:
        newer.wait_for(lambda report: report.stage in ("Training", "Saving", "Finishing"))
        older.kill(signal.SIGCONT)
        newer.finish()
        (record,) = older.wait()
    finally:
        older.kill()
        newer.kill()
    assert record is not None
    assert record.kind is EndKind.INTERNAL_ERROR, older.log()
    assert "Run 2 has taken over from run 1" in record.message
    assert_untouched(job, undisturbed)


def assert_untouched(job: AJob, undisturbed: AJob) -> None:
    assert job.report()["run"] == 2
    assert_same_end(undisturbed, job)
    entries = read_metrics(job.results)
    steps = [entry["step"] for entry in entries if "loss" in entry]
    assert steps == sorted(set(steps)), "each step is there once"
    began = min((entry["step"] for entry in entries if entry["run"] == 2), default=6)
    assert all(entry["run"] == (1 if entry["step"] < began else 2) for entry in entries), "none was added by the older"
    kept = checkpoints.complete(job.results.checkpoints)
    assert [checkpoint.step for checkpoint in kept] == [4, 5]
    assert [path.name for path in sorted(job.results.checkpoints.iterdir())] == [c.path.name for c in kept]
    for checkpoint in kept:
        for file in checkpoint.manifest.files:
            assert checkpoints.digest_of(checkpoint.path / file.path) == file.xxh3


def test_no_change_that_an_older_writer_was_stopped_at_harms_the_newer(
    points: list[str], tmp_path: Path, models: Path, undisturbed: AJob
) -> None:
    chosen = points if os.environ.get("FINETUNE_FENCING_POINTS") == "all" else list(filter(seen_by_others, points))
    assert any(point.startswith("os.rename work/N/step-N-rN checkpoints/") for point in chosen), points
    assert any(point.startswith("os.rename checkpoints/step-N-rN work/") for point in chosen), points
    failed = {}
    for number, point in enumerate(chosen):
        try:
            play(point, a_short_job(tmp_path / str(number), models), undisturbed)
        except AssertionError as error:
            failed[point] = str(error)
        print(f"{'FAILED' if point in failed else 'fenced'}: {point}")
    assert not failed, "\n\n".join(f"{point}:\n{said}" for point, said in failed.items())


# -- the claim itself


@pytest.fixture
def claims(tmp_path: Path, models: Path) -> tuple[AJob, RunClaim, RunClaim]:
    job = AJob.on(tmp_path, models)
    job.results.create()
    older = RunClaim.take(job.results, job.config)
    (older.workspace / "file").write_text("older")
    return job, older, RunClaim.take(job.results, job.config)


def test_an_older_claim_changes_nothing_any_more(claims: tuple[AJob, RunClaim, RunClaim]) -> None:
    job, older, newer = claims
    newer.write(job.results.run_record, "newer")
    for attempt in (
        lambda: older.check(),
        lambda: older.commit(older.workspace / "file", job.results.run_record),
        lambda: older.discard(job.results.run_record),
        lambda: older.discard(job.results.root / "not there"),
        lambda: older.set_aside(job.results.checkpoints, "elsewhere"),
        lambda: older.write(job.results.run_record, "older"),
    ):
        with pytest.raises(FencedOff, match="Run 2 has taken over from run 1"):
            attempt()
    assert job.results.run_record.read_text() == "newer"
    assert job.results.checkpoints.is_dir()


def test_a_library_that_makes_missing_directories_does_not_bring_a_workspace_back(
    claims: tuple[AJob, RunClaim, RunClaim],
) -> None:
    _, older, _ = claims
    with pytest.raises(OSError):
        (older.workspace / "output").mkdir(parents=True, exist_ok=True)
    assert not older.workspace.is_dir()


def test_what_an_older_run_still_writes_to_an_open_file_nobody_reads(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models)
    job.results.create()
    older = RunClaim.take(job.results, job.config)
    kept_open = older.replace(job.results.metrics, b"one\n")
    newer = RunClaim.take(job.results, job.config)
    mine = newer.replace(job.results.metrics, job.results.metrics.read_bytes())
    kept_open.write(b"of the older\n")
    mine.write(b"two\n")
    assert job.results.metrics.read_text() == "one\ntwo\n"


def test_of_runs_that_start_at_once_the_highest_number_is_left(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models)
    job.results.create()
    pids = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(5):
                    with_claim = RunClaim.take(job.results, job.config)
                    with_claim.check()
                    with_claim.write(job.results.run_record, str(with_claim.number))
            except FencedOff:
                pass
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    last = RunClaim.take(job.results, job.config)
    last.write(job.results.run_record, str(last.number))
    numbers = sorted(int(path.name) for path in job.results.runs.iterdir())
    assert numbers == list(range(1, last.number + 1))
    assert [path.name for path in job.results.work.iterdir() if path.is_dir()] == [str(last.number)]


def test_the_files_of_an_older_run_go_one_by_one_and_nothing_else_goes_with_them(tmp_path: Path) -> None:
    job, outside, moves = AJob.on(tmp_path, tmp_path), tmp_path / "outside", list[int]()
    outside.mkdir()
    (outside / "kept").touch()
    job.results.create()
    older = RunClaim.take(job.results, job.config)
    staged = older.workspace / "staged" / "rank-0"
    staged.mkdir(parents=True)
    for number in range(5):
        (staged / str(number)).touch()
    (staged / "link").symlink_to(outside)
    newer = RunClaim.take(job.results, job.config, lambda: moves.append(1))
    assert len(moves) > 5, "a large workspace is no volume that does not answer"
    assert older.workspace.is_file()
    assert sorted(path.name for path in job.results.work.iterdir()) == ["1", "2"]
    assert newer.workspace.is_dir()
    assert (outside / "kept").exists()

"""A directory counts as a checkpoint only with a manifest that its files match; a fenced-off run commits nothing."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_api.trainer_contract import TrainerConfig
from finetune_trainer import checkpoints
from finetune_trainer.errors import FencedOff
from finetune_trainer.fencing import RunClaim
from finetune_trainer.results import Results


@pytest.fixture
def results(tmp_path: Path) -> Results:
    results = Results(tmp_path / "job" / "fingerprint")
    results.create()
    return results


@pytest.fixture
def config(tmp_path: Path) -> TrainerConfig:
    document = {
        "job": {"name": "job", "namespace": "test", "uid": "uid-1"},
        "attempt": 1,
        "fingerprint": "fingerprint",
        "spec": {
            "model": {"claim": {"name": "models"}},
            "dataset": {"sources": [{"claim": {"name": "data"}}]},
        },
        "mounts": {"output": str(tmp_path / "job")},
    }
    return TrainerConfig.load(json.dumps(document))


def a_checkpoint(
    results: Results, claim: RunClaim, step: int, value: float | None = None, content: str = "weights"
) -> Path:
    name = checkpoints.directory_name(step, claim.number)
    made = claim.workspace / name
    with claim.fenced():
        (made / "below").mkdir(parents=True)
    (made / "model.bin").write_text(content * 100)
    (made / "below" / "rng.bin").write_text("numbers")
    files = checkpoints.sealed(made)
    place = results.checkpoints / name
    checkpoints.commit(made, place, files, claim, step=step, world_size=1, metric="eval_loss", value=value)
    return place


def cut_short(path: Path) -> None:
    (path / "model.bin").write_text("w")


def flip_a_byte(path: Path) -> None:
    content = bytearray((path / "model.bin").read_bytes())
    content[3] ^= 1
    (path / "model.bin").write_bytes(bytes(content))


def take_the_manifest(path: Path) -> None:
    (path / checkpoints.MANIFEST).unlink()


def take_a_file(path: Path) -> None:
    (path / "below" / "rng.bin").unlink()


def garble_the_manifest(path: Path) -> None:
    (path / checkpoints.MANIFEST).write_text('{"step": 2')


@pytest.mark.parametrize("damage", [cut_short, flip_a_byte, take_the_manifest, take_a_file, garble_the_manifest])
def test_a_torn_checkpoint_is_set_aside_and_the_one_before_is_taken(
    damage: Callable[[Path], None], results: Results, config: TrainerConfig
) -> None:
    claim = RunClaim.take(results, config)
    a_checkpoint(results, claim, 1)
    torn = a_checkpoint(results, claim, 2)
    damage(torn)
    warnings: list[str] = []
    found = checkpoints.newest_valid(results.checkpoints, claim, warnings.append)
    assert found is not None
    assert found.step == 1
    assert not torn.exists()
    assert torn.with_name(torn.name + ".torn").is_dir()
    assert len(warnings) == 1
    assert torn.name in warnings[0]


def test_of_torn_checkpoints_only_the_newest_are_kept(results: Results, config: TrainerConfig) -> None:
    claim = RunClaim.take(results, config)
    a_checkpoint(results, claim, 1)
    for step in range(2, 6):
        cut_short(a_checkpoint(results, claim, step))
        assert checkpoints.newest_valid(results.checkpoints, claim, lambda _: None) is not None
    left = sorted(path.name for path in results.checkpoints.iterdir())
    assert left == ["step-00000001-r1", "step-00000004-r1.torn", "step-00000005-r1.torn"]


def test_a_torn_checkpoint_that_cannot_be_deleted_keeps_no_run_from_continuing(
    results: Results, config: TrainerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = RunClaim.take(results, config)
    whole = a_checkpoint(results, claim, 1)
    for step in range(2, 5):
        cut_short(a_checkpoint(results, claim, step))

    def busy(path: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    delete = claim.discard
    monkeypatch.setattr(claim, "discard", lambda path: busy(path) if path.exists() else delete(path))
    found = checkpoints.newest_valid(results.checkpoints, claim, lambda _: None)
    assert found is not None
    assert found.path == whole
    assert len(list(results.checkpoints.glob("*.torn"))) == 3


def test_rotation_keeps_the_newest_and_the_best(results: Results, config: TrainerConfig) -> None:
    claim = RunClaim.take(results, config)
    for step, value in enumerate([3.0, 1.0, 2.0, None, 2.5], start=1):
        a_checkpoint(results, claim, step, value)
    checkpoints.rotate(results.checkpoints, claim, keep=2, keep_best=True)
    assert [checkpoint.step for checkpoint in checkpoints.complete(results.checkpoints)] == [2, 4, 5]
    state = checkpoints.state_of(results.checkpoints)
    assert state.count == 3
    assert state.best is not None
    assert (state.best.step, state.best.value) == (2, 1.0)
    assert state.latest is not None
    assert state.latest.step == 5


def test_a_run_that_was_fenced_off_cannot_commit(results: Results, config: TrainerConfig) -> None:
    old = RunClaim.take(results, config)
    a_checkpoint(results, old, 1)
    new = RunClaim.take(results, config)
    assert new.number == old.number + 1
    with pytest.raises(FencedOff, match="Run 2 has taken over from run 1"):
        a_checkpoint(results, old, 2)
    assert [checkpoint.step for checkpoint in checkpoints.complete(results.checkpoints)] == [1]
    a_checkpoint(results, new, 2)
    assert [checkpoint.step for checkpoint in checkpoints.complete(results.checkpoints)] == [1, 2]


def test_steps_sort_by_number_and_then_by_run(results: Results, config: TrainerConfig) -> None:
    first, second = RunClaim.take(results, config), None
    a_checkpoint(results, first, 100_000_000)
    a_checkpoint(results, first, 99_999_999)
    second = RunClaim.take(results, config)
    a_checkpoint(results, second, 99_999_999)
    found = [(c.step, c.manifest.run) for c in checkpoints.complete(results.checkpoints)]
    assert found == [(99_999_999, 1), (99_999_999, 2), (100_000_000, 1)]


def test_a_checkpoint_that_cannot_be_read_at_the_moment_is_not_set_aside(
    results: Results, config: TrainerConfig
) -> None:
    claim = RunClaim.take(results, config)
    a_checkpoint(results, claim, 10)
    newest = a_checkpoint(results, claim, 20)
    manifest = newest / checkpoints.MANIFEST
    content = manifest.read_bytes()
    manifest.unlink()
    manifest.symlink_to(manifest)  # an error of the file system that says nothing of the file: ELOOP
    with pytest.raises(OSError, match="symbolic links"):
        checkpoints.newest_valid(results.checkpoints, claim, pytest.fail)
    manifest.unlink()
    manifest.write_bytes(content)
    found = checkpoints.newest_valid(results.checkpoints, claim, pytest.fail)
    assert found is not None
    assert found.step == 20

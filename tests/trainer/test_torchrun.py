"""The worker under torchrun itself, as someone starts it who has torchrun and no supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .attempts import PATIENCE_SECONDS, AJob


@pytest.mark.parametrize("processes", [1, 2])
def test_torchrun_starts_the_ranks_as_well(processes: int, tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models)
    torchrun = [Path(sys.executable).with_name("torchrun"), "--standalone", f"--nproc-per-node={processes}"]
    ended = subprocess.run(
        [*torchrun, "-m", "finetune_trainer.worker"],
        env=os.environ | {"FINETUNE_CONFIG": job.config.encode(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    record = job.results.read_run_record()
    assert record is not None
    assert record.effective.world_size == processes
    assert job.report()["metrics"]["eval_loss"] > 0

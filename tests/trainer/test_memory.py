"""Memory that really runs out: what the trainer calls it, what the next attempt does, and that losses stay the same."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune_api.trainer_contract import EndKind

from .attempts import AJob, Ranks
from .tiny_model import make_tokenizer
from .warm_programs import WarmPopen
from .workplace import Workplace

VOCABULARY = 100_000
"""Makes the model's output, and so the memory of a row, large: about 300 MB for 256 tokens in a training step."""
ROOM = 1000 * 2**20
"""Bytes that an attempt may take beside the libraries; eight rows at once need 2,400 MB, two rows 600 MB."""


def make_wide_model(directory: Path) -> None:
    """A small model with a large output, and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tokenizer().save_pretrained(directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)


class Limited(WarmPopen):
    """A process, and all that it starts, under a limit of the data segment."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, preexec_fn=lambda: leave_memory(ROOM), **named)


def test_a_run_whose_memory_runs_out_goes_on_in_smaller_pieces_with_the_same_losses(
    tmp_path: Path, warm: type[WarmPopen]
) -> None:
    make_wide_model(tmp_path / "models" / "tiny-llama")
    (tmp_path / "datasets").mkdir()
    rows = [{"prompt": f"count {number}", "completion": f" x y {number}" * 90} for number in range(28)]
    (tmp_path / "datasets" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = {
        # 28 rows: the last step of each epoch is a short one.
        "hyperparameters": {
            "epochs": 1, "maxSequenceLength": 256, "gradientCheckpointing": False, "seed": 1,
            "perDeviceBatchSize": 8, "learningRate": 0.01,
        },
        "tuning": {"type": "LoRA", "rank": 4, "dropout": 0.0},
        "dataset": {
            "sources": [{"claim": {"name": "datasets", "path": "train.jsonl"}}], "split": {"validation": 0.0},
        },
        "retryPolicy": {"backoffSeconds": 0},
    }  # fmt: skip
    for name in ("free", "limited"):
        (tmp_path / name).mkdir()
    free = Workplace(tmp_path / "free", inputs=tmp_path, popen=warm)
    limited = Workplace(tmp_path / "limited", inputs=tmp_path, popen=Limited)
    for place in (free, limited):
        place.write(**spec)
        code, said = place.run()
        assert code == 0, said

    status = limited.job["status"]
    assert status["restarts"]["outOfMemory"] == status["attempt"] - 1 >= 1
    assert status["restarts"]["failures"] == 0
    effective = status["effective"]
    assert effective["perDeviceBatchSize"] in (4, 2, 1)
    assert effective["perDeviceBatchSize"] * effective["gradientAccumulationSteps"] == 8
    assert any("the effective batch is kept" in reason for reason in effective["because"])
    assert "Adapted" in said
    first = status["history"][0]
    assert first["reason"] == "DeviceOutOfMemory"
    assert "DefaultCPUAllocator" in first["failure"]["message"]
    losses, undisturbed = limited.losses(), free.losses()
    assert [step for step, _ in losses] == [step for step, _ in undisturbed] == [1, 2, 3, 4]
    assert losses == [(step, pytest.approx(loss, abs=1e-3)) for step, loss in undisturbed]


@pytest.mark.parametrize("batch", [4, 2, 1])
def test_each_smaller_piece_learns_the_same(batch: int, tmp_path: Path, models: Path, whole: AJob) -> None:
    adaptation = {"perDeviceBatchSize": batch, "gradientAccumulationSteps": 8 // batch}
    job = without_dropout(tmp_path, models).with_config(adaptation=adaptation)
    Ranks(job).finish()
    record = job.results.read_run_record()
    assert record is not None
    assert record.effective.per_device_batch_size == batch
    curve = job.report()["lossCurve"]
    assert curve == [[step, pytest.approx(loss, abs=1e-3)] for step, loss in whole.report()["lossCurve"]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, models: Path, loaded_libraries: None) -> AJob:
    job = without_dropout(tmp_path_factory.mktemp("whole"), models)
    Ranks(job).finish()
    return job


def without_dropout(volume: Path, models: Path) -> AJob:
    return AJob.on(volume, models).with_spec(
        tuning={"dropout": 0.0},
        hyperparameters={"perDeviceBatchSize": 8, "gradientAccumulationSteps": 1},
        checkpoint={"everySteps": 1000},
    )


def leave_memory(room: int) -> None:
    """Limits this process, and those that it forks, to what it has now and as many bytes more."""
    used = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmData")
    )
    resource.setrlimit(resource.RLIMIT_DATA, (used + room,) * 2)


def leave_little_memory() -> None:
    """64 MB more, and a step that takes more."""
    leave_memory(64 * 2**20)
    from finetune_trainer.trainer import RecipeTrainer

    step = RecipeTrainer.training_step

    def hungry(self: RecipeTrainer, *arguments: object, **named: object) -> object:
        import torch

        torch.ones(256, 2**20)
        return step(self, *arguments, **named)

    RecipeTrainer.training_step = hungry  # type: ignore[assignment,method-assign]  # in the forked rank only


def test_an_allocation_that_fails_on_a_cpu_is_the_devices_end(
    tmp_path: Path, models: Path, loaded_libraries: None
) -> None:
    (record,) = Ranks(without_dropout(tmp_path, models), before=leave_little_memory).wait()
    assert record is not None
    assert record.kind is EndKind.DEVICE_OUT_OF_MEMORY, record.message
    assert "compute.memory" in record.advice


ON_A_GPU = """
import torch
from finetune_trainer.failures import record_of
torch.cuda.set_per_process_memory_fraction(0.01)
try:
    torch.empty(torch.cuda.get_device_properties(0).total_memory // 2, dtype=torch.uint8, device="cuda")
except BaseException as error:
    print(record_of(error, 0).kind)
"""


@pytest.mark.gpu
def test_an_allocation_that_fails_on_a_gpu_is_the_devices_end() -> None:
    # In a process of its own: a process that has used CUDA cannot be forked from.
    if not list(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has no NVIDIA GPU")
    done = subprocess.run([sys.executable, "-c", ON_A_GPU], env=os.environ, capture_output=True, text=True)
    assert done.stdout.strip() == "DeviceOutOfMemory", done.stderr

"""What a job does after its memory ran out, attempt after attempt."""

from typing import Any

import pytest

from finetune_api.trainer_contract import TrainerConfig
from finetune_api.v1alpha1.status import FineTuneJobStatus, Restarts
from finetune_operator.decide import decide
from finetune_operator.policies.memory import MOST_ADAPTATIONS, larger
from finetune_operator.settings import Settings
from tests.builders.observations import NOW, JobSeen, a_job, past

GPU = {"gpusPerNode": 1, "memory": "64Gi"}
CPU = {"gpusPerNode": 0, "memory": "4Gi"}


def status_after(job: JobSeen) -> FineTuneJobStatus:
    status = decide(job.build(), Settings(), NOW).status
    assert status is not None
    return status


def batches_until_the_end(compute: dict[str, Any], kind: str, **hyperparameters: Any) -> tuple[list[Any], str]:
    """Batch and accumulation of each attempt that follows, and the advice with which the job fails."""
    job = a_job().with_spec(compute=compute, hyperparameters={"epochs": 1, "perDeviceBatchSize": 8, **hyperparameters})
    status, tried = FineTuneJobStatus(phase="Running", attempt=1), []
    while True:
        seen = job.with_(status=status).running(status.attempt or 1).ended(kind, 11)
        status = status_after(seen)
        assert status.effective is None or len(tried) < 10
        if status.phase == "Failed":
            assert status.failure is not None
            return tried, status.failure.advice or ""
        assert status.effective is not None
        tried.append((status.effective.per_device_batch_size, status.effective.gradient_accumulation_steps))


def test_a_device_gets_ever_smaller_batches_of_the_same_product() -> None:
    tried, advice = batches_until_the_end(GPU, "DeviceOutOfMemory")
    assert tried == [(4, 2), (2, 4), (1, 8)]
    assert "maxSequenceLength" in advice


def test_what_saves_memory_is_turned_on_last() -> None:
    tried, _ = batches_until_the_end(GPU, "DeviceOutOfMemory", gradientCheckpointing=False)
    assert tried == [(4, 2), (2, 4), (1, 8), (1, 8)]


def test_a_cpu_is_a_device_whose_memory_can_be_set() -> None:
    tried, advice = batches_until_the_end(CPU, "DeviceOutOfMemory")
    assert tried == [(4, 2), (2, 4), (1, 8)]
    assert "Set compute.memory to 6Gi or more" in advice


@pytest.mark.parametrize(
    ("compute", "batch", "memory"),
    [(GPU, (None, None), "96Gi"), (CPU, (4, 2), "6Gi")],
    ids=["beside a GPU without loading processes", "on a CPU with a smaller batch"],
)
def test_the_host_gets_one_more_try(compute: dict[str, Any], batch: tuple[int, int], memory: str) -> None:
    tried, advice = batches_until_the_end(compute, "HostOutOfMemory", dataLoaderWorkers=4)
    assert tried == [batch]
    assert f"Set compute.memory to {memory} or more" in advice


def test_a_trainer_that_does_not_obey_is_not_tried_for_ever() -> None:
    often = Restarts(total=MOST_ADAPTATIONS, out_of_memory=MOST_ADAPTATIONS)
    status = status_after(a_job().running().with_status(restarts=often).ended("DeviceOutOfMemory", 11))
    assert status.phase == "Failed"


def test_the_next_attempt_is_told_and_the_person_as_well() -> None:
    job = a_job().with_spec(compute=GPU).running().ended("DeviceOutOfMemory", 11)
    decision = decide(job.build(), Settings(), NOW)
    assert "Adapted" in [note.reason for note in decision.notes]
    assert decision.status is not None
    assert decision.status.effective is not None
    assert decision.status.effective.because is not None
    assert "the effective batch is kept" in decision.status.effective.because[-1]
    retrying = a_job().with_spec(compute=GPU).with_(status=decision.status)
    started = decide(retrying.with_status(history=[past("DeviceOutOfMemory")]).build(), Settings(), NOW)
    (container,) = started.create[-1]["spec"]["template"]["spec"]["containers"]
    text = next(variable["value"] for variable in container["env"] if variable["name"] == "FINETUNE_CONFIG")
    adaptation = TrainerConfig.decode(text).adaptation
    assert (adaptation.per_device_batch_size, adaptation.gradient_accumulation_steps) == (4, 2)


@pytest.mark.parametrize(
    ("asked", "more"), [("4Gi", "6Gi"), ("512Mi", "768Mi"), ("3G", "5Gi"), ("1.5Gi", "3Gi"), ("1073741824", "2Gi")]
)
def test_the_memory_to_set_is_half_as_much_again(asked: str, more: str) -> None:
    assert larger(asked) == more

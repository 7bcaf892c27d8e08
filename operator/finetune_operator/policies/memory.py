"""Out of memory: the same effective batch in smaller pieces, then what saves memory, then advice."""

from __future__ import annotations

from finetune_api.trainer_contract import Adaptation
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import FineTuneJobStatus

from .ends import End

DEVICE_BATCH = 8


def current(status: FineTuneJobStatus) -> Adaptation:
    """What earlier attempts taught, for the next one; empty until memory ran out once."""
    effective = status.effective
    if effective is None or not status.restarts or not status.restarts.out_of_memory:
        return Adaptation()
    return Adaptation(
        per_device_batch_size=effective.per_device_batch_size,
        gradient_accumulation_steps=effective.gradient_accumulation_steps,
        data_loader_workers=effective.data_loader_workers,
        gradient_checkpointing=effective.gradient_checkpointing,
    )


def adapt(end: End, status: FineTuneJobStatus, spec: FineTuneJobSpec) -> tuple[Adaptation | None, str]:
    """What the next attempt changes and why, or None and the advice with which the job fails."""
    if spec.retry_policy and spec.retry_policy.on_out_of_memory == "Fail":
        return None, _more_memory(end, spec)
    if end.name == "HostOutOfMemory":
        return _host(end, status, spec)
    return _device(end, status, spec)


def _host(end: End, status: FineTuneJobStatus, spec: FineTuneJobSpec) -> tuple[Adaptation | None, str]:
    if any(entry.reason == "HostOutOfMemory" for entry in status.history or ()):
        return None, _more_memory(end, spec)
    on_cpu = spec.compute is not None and spec.compute.gpus_per_node == 0
    if on_cpu:
        smaller = _smaller(end, status, spec)
        if smaller is not None:
            return smaller.model_copy(update={"data_loader_workers": 0}), _said(smaller)
    adaptation = current(status).model_copy(update={"data_loader_workers": 0})
    return adaptation, "dataLoaderWorkers 0: the host's memory ran out"


def _device(end: End, status: FineTuneJobStatus, spec: FineTuneJobSpec) -> tuple[Adaptation | None, str]:
    smaller = _smaller(end, status, spec)
    if smaller is not None:
        return smaller, _said(smaller)
    before = current(status)
    written = spec.hyperparameters.gradient_checkpointing if spec.hyperparameters else None
    on = before.gradient_checkpointing if before.gradient_checkpointing is not None else written is not False
    if not on:
        saving = before.model_copy(update={"gradient_checkpointing": True})
        return saving, "gradientCheckpointing on: the device's memory ran out with one example"
    return None, (
        "One example does not fit into the device's memory: lower hyperparameters.maxSequenceLength, use tuning.type "
        "LoRA with a smaller rank, or a device with more memory."
    )


def _smaller(end: End, status: FineTuneJobStatus, spec: FineTuneJobSpec) -> Adaptation | None:
    """The next smaller divisor of the device batch, with accumulation up so that the product stays."""
    batch, accumulation = _batch(end, status, spec)
    divisor = next((size for size in range(batch - 1, 0, -1) if batch % size == 0), None)
    if divisor is None:
        return None
    return current(status).model_copy(
        update={"per_device_batch_size": divisor, "gradient_accumulation_steps": accumulation * batch // divisor}
    )


def _batch(end: End, status: FineTuneJobStatus, spec: FineTuneJobSpec) -> tuple[int, int]:
    """Device batch and accumulation of the attempt that ended: as reported, as known, as asked for."""
    written = spec.hyperparameters
    for source in (end.record.effective if end.record else None, status.effective, written):
        if source is not None and source.per_device_batch_size:
            return source.per_device_batch_size, source.gradient_accumulation_steps or 1
    return DEVICE_BATCH, (written.gradient_accumulation_steps if written else None) or 1


def _said(adaptation: Adaptation) -> str:
    return (
        f"perDeviceBatchSize {adaptation.per_device_batch_size}, gradientAccumulationSteps "
        f"{adaptation.gradient_accumulation_steps}: memory ran out; the effective batch is kept"
    )


def _more_memory(end: End, spec: FineTuneJobSpec) -> str:
    if end.name == "DeviceOutOfMemory":
        return "Lower hyperparameters.perDeviceBatchSize and raise gradientAccumulationSteps by the same factor."
    asked = spec.compute.memory if spec.compute else None
    return f"Set compute.memory to more than {asked or 'the platform default'}; the container was killed for it."

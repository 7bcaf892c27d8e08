"""Out of memory: the same effective batch in smaller pieces, then what saves memory, then advice."""

from __future__ import annotations

import math

from finetune_api.trainer_contract import Adaptation
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import FineTuneJobStatus

from .ends import End

DEVICE_BATCH = 8
MOST_ADAPTATIONS = 16
"""A batch has fewer divisors: whoever comes this far does not do what it is told."""
_UNITS = {
    "": 1, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip


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
    spent = status.restarts is not None and (status.restarts.out_of_memory or 0) >= MOST_ADAPTATIONS
    if spent or (spec.retry_policy and spec.retry_policy.on_out_of_memory == "Fail"):
        return None, _without_help(end, spec)
    if end.name == "HostOutOfMemory":
        return _host(end, status, spec)
    return _device(end, status, spec)


def _host(end: End, status: FineTuneJobStatus, spec: FineTuneJobSpec) -> tuple[Adaptation | None, str]:
    """One more try, without processes that load data; on a CPU with a smaller batch as well."""
    # That try is known by what it changed: history forgets, and nothing else writes this.
    if current(status).data_loader_workers is not None:
        return None, _more_memory(spec)
    if _on_cpu(end, spec):
        saving, said = _saving(end, status, spec)
        if saving is not None:
            return saving.model_copy(update={"data_loader_workers": 0}), said
    adaptation = current(status).model_copy(update={"data_loader_workers": 0})
    return adaptation, "dataLoaderWorkers 0: the host's memory ran out"


def _device(end: End, status: FineTuneJobStatus, spec: FineTuneJobSpec) -> tuple[Adaptation | None, str]:
    saving, said = _saving(end, status, spec)
    if saving is not None:
        return saving, said
    if _on_cpu(end, spec):
        return None, f"{_more_memory(spec)} Or lower hyperparameters.maxSequenceLength."
    return None, (
        "One example does not fit into the device's memory: lower hyperparameters.maxSequenceLength, use tuning.type "
        "LoRA with a smaller rank, or a device with more memory."
    )


def _on_cpu(end: End, spec: FineTuneJobSpec) -> bool:
    """Whether the job computes on the CPU: its device's memory is the host's."""
    reported = end.record.effective.device if end.record else None
    return reported == "cpu" or (spec.compute is not None and spec.compute.gpus_per_node == 0)


def _saving(end: End, status: FineTuneJobStatus, spec: FineTuneJobSpec) -> tuple[Adaptation | None, str]:
    """Smaller pieces of the same effective batch; then, with one example, what is computed again is not kept."""
    smaller = _smaller(end, status, spec)
    if smaller is not None:
        return smaller, _said(smaller)
    before = current(status)
    written = spec.hyperparameters.gradient_checkpointing if spec.hyperparameters else None
    on = before.gradient_checkpointing if before.gradient_checkpointing is not None else written is not False
    # Prefix tuning cannot have it; every other job has it unless it says no.
    if on or (spec.tuning is not None and spec.tuning.type == "PrefixTuning"):
        return None, ""
    saving = before.model_copy(update={"gradient_checkpointing": True})
    return saving, "gradientCheckpointing on: the memory ran out with one example at a time"


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


def _without_help(end: End, spec: FineTuneJobSpec) -> str:
    if end.name == "DeviceOutOfMemory":
        return "Lower hyperparameters.perDeviceBatchSize and raise gradientAccumulationSteps by the same factor."
    return _more_memory(spec)


def _more_memory(spec: FineTuneJobSpec) -> str:
    asked = spec.compute.memory if spec.compute else None
    if asked is None:
        return "Set compute.memory to more than the platform gives by default; the container was killed for it."
    return f"Set compute.memory to {larger(asked)} or more; with {asked} the container ran out of it."


def larger(quantity: str) -> str:
    """Half as much again, in whole GiB, or in MiB below one."""
    number = quantity.rstrip("".join(_UNITS))
    size = float(number) * _UNITS[quantity[len(number) :]] * 1.5
    return f"{math.ceil(size / 2**30)}Gi" if size > 2**30 else f"{math.ceil(size / 2**20)}Mi"

"""Another number of processes, chosen while a job was suspended: the examples of an optimizer step stay the same."""

from __future__ import annotations

import math

from finetune_api.v1alpha1.batch import share
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import EffectiveStatus, FineTuneJobStatus


def processes(spec: FineTuneJobSpec) -> int:
    """All processes of a resolved spec's attempt."""
    compute = spec.compute
    return (compute.nodes or 1) * max(1, compute.gpus_per_node or 0) if compute else 1


def shared(before: EffectiveStatus, now: int) -> tuple[int, int] | None:
    """Device batch and accumulation for a number of processes; None where nothing changes, or nothing fits."""
    effective = _effective_batch(before)
    if effective is None or before.world_size == now:
        return None
    return share(effective, now, before.per_device_batch_size or 1)


def refusal(status: FineTuneJobStatus, spec: FineTuneJobSpec) -> tuple[str, str] | None:
    """Reason and message where the job's processes cannot share its batch evenly. `spec` is the resolved one."""
    before, now = status.effective, processes(spec)
    effective = _effective_batch(before) if before is not None and status.start_time is not None else None
    if before is None or effective is None or before.world_size == now or shared(before, now) is not None:
        return None
    return "BatchNotShared", (
        f"spec.compute: the job began with {effective} examples per optimizer step, and {now} processes cannot share "
        f"them evenly: write spec.suspend true, and then a number of nodes with which the processes divide {effective}"
    )


def _effective_batch(before: EffectiveStatus) -> int | None:
    sizes = (before.per_device_batch_size, before.gradient_accumulation_steps, before.world_size)
    return None if None in sizes else math.prod(size for size in sizes if size is not None)

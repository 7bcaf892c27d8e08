"""From an exception to a kind of end. Looks at types, and at texts only where a library has no type for it."""

from __future__ import annotations

import sys

from finetune_api.trainer_contract import EndKind

from .errors import DeviceUnavailable, Diverged, FencedOff, Interrupted, UserError
from .records import RankRecord

# What gloo, NCCL and the store say when another rank has gone.
_LOST_PEER = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "nccl communicator was aborted",
    "gloo/transport",
    "socket timeout",
    "remote process exited",
)


def record_of(error: BaseException, rank: int) -> RankRecord:
    """The record of a rank that ended with this exception; `ended_at` is for the caller to set."""
    kind, message, advice = _kind_of(error)
    return RankRecord(
        rank=rank, kind=kind, ended_at=0, message=message, advice=advice,
        collateral=kind is EndKind.INTERNAL_ERROR and _lost_peer(error),
    )  # fmt: skip


def _kind_of(error: BaseException) -> tuple[EndKind, str, str]:
    if isinstance(error, Interrupted):
        return EndKind.INTERRUPTED, str(error) or "SIGTERM", ""
    if isinstance(error, UserError):
        return EndKind.USER_ERROR, error.message, error.advice
    if isinstance(error, Diverged):
        return EndKind.DIVERGED, str(error), error.advice
    if isinstance(error, DeviceUnavailable):
        return EndKind.DEVICE_UNAVAILABLE, str(error), ""
    if isinstance(error, FencedOff):
        return EndKind.INTERNAL_ERROR, str(error), ""
    text = f"{type(error).__name__}: {error}"
    if _is_device_out_of_memory(error):
        advice = "Lower perDeviceBatchSize or maxSequenceLength, turn gradientCheckpointing on, or tune with LoRA."
        return EndKind.DEVICE_OUT_OF_MEMORY, text, advice
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error):
        return EndKind.HOST_OUT_OF_MEMORY, text, "Raise compute.memory, or lower perDeviceBatchSize."
    if isinstance(error, SystemExit):
        return EndKind.INTERNAL_ERROR, f"The rank called exit({error.code}).", ""
    return EndKind.INTERNAL_ERROR, text, "The log has the whole traceback."


def _is_device_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return "CUDA out of memory" in str(error) or "CUBLAS_STATUS_ALLOC_FAILED" in str(error)


def _lost_peer(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and isinstance(error, torch.distributed.DistError):
        return True
    text = str(error).lower()
    return any(phrase in text for phrase in _LOST_PEER)

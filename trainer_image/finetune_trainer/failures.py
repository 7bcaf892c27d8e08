"""From an exception to a kind of end. Looks at types, and at texts only where a library has no type for it."""

from __future__ import annotations

import errno
import sys
import traceback
from pathlib import Path

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
# What NCCL says of this rank's own device or set-up: its error type is the same as for a lost peer.
_OWN_FAULT = (
    "unhandled cuda error",
    "invalid usage",
    "invalid argument",
    "device-side assert",
    "internal error - please",
)
_DEVICE_FULL = (
    "CUDA out of memory",
    "HIP out of memory",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "Cuda failure 2 'out of memory'",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_HOST_FULL = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "std::bad_alloc",
    "Cannot allocate memory",
    "unable to allocate shared memory",
    "out of shared memory",
)
# The device or its driver is at fault: another node may do.
_DEVICE_GONE = (
    "uncorrectable ECC error",
    "CUDA-capable device(s) is/are busy or unavailable",
    "CUDA driver initialization failed",
    "GPU is lost",
    "fallen off the bus",
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
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    place = _place_of(error)
    said = f"{text} ({place})" if place else text
    if _is_device_out_of_memory(error):
        advice = "Lower perDeviceBatchSize or maxSequenceLength, turn gradientCheckpointing on, or tune with LoRA."
        return EndKind.DEVICE_OUT_OF_MEMORY, said, advice
    if "DefaultCPUAllocator" in str(error) and not _uses_cuda():
        # What it computes on is the CPU, and a tensor did not fit there.
        return EndKind.DEVICE_OUT_OF_MEMORY, said, "Raise compute.memory, or lower perDeviceBatchSize."
    if _is_host_out_of_memory(error):
        return EndKind.HOST_OUT_OF_MEMORY, said, "Raise compute.memory, or lower perDeviceBatchSize."
    if any(phrase in str(error) for phrase in _DEVICE_GONE):
        return EndKind.DEVICE_UNAVAILABLE, said, ""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EndKind.INTERNAL_ERROR, said, "Make room on the claim, or make it larger; checkpoint.keep says how many."
    if isinstance(error, SystemExit):
        return EndKind.INTERNAL_ERROR, f"The rank called exit({error.code}).", ""
    return EndKind.INTERNAL_ERROR, said, "The log has the whole traceback."


def _place_of(error: BaseException) -> str:
    """The line that raised it, and the last one of ours on the way there."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    ours = [frame for frame in frames if "finetune_trainer" in frame.filename]
    shown = dict.fromkeys(f"{Path(frame.filename).name}:{frame.lineno}" for frame in (*ours[-1:], frames[-1]))
    return " -> ".join(shown)


def _is_device_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return any(phrase in str(error) for phrase in _DEVICE_FULL)


def _uses_cuda() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def _is_host_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(phrase in str(error) for phrase in _HOST_FULL)


def _lost_peer(error: BaseException) -> bool:
    text = str(error).lower()
    if any(phrase in text for phrase in _OWN_FAULT):
        return False
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and isinstance(error, torch.distributed.DistError):
        return True
    return any(phrase in text for phrase in _LOST_PEER)

"""The ranks together: the device of each, the process group, and how they agree on what to do. No training here."""

from __future__ import annotations

import logging
import os
import time
from datetime import timedelta
from enum import IntFlag
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

from .errors import DeviceUnavailable
from .rank import Rank

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Collectives wait as long as the supervisor's hang watch, which is the one to judge.
_LONGEST_WAIT = timedelta(days=7)
_ONE_TRY = timedelta(seconds=2)


class Decision(IntFlag):
    """What the ranks agree on between two steps."""

    NOTHING = 0
    STOP = 1
    SAVE = 2


class World:
    """This rank's device and its peers."""

    def __init__(self, rank: Rank, device: torch.device) -> None:
        self.device = device
        self.size = rank.world_size
        self.rank = rank.number
        self._heartbeat = rank.heartbeat
        self._group: dist.ProcessGroup | None = None
        self._asked: tuple[torch.Tensor, dist.Work] | None = None

    @classmethod
    def open(cls, rank: Rank) -> World:
        """Chooses the device and meets the other ranks. Raises DeviceUnavailable."""
        device = choose_device(rank)
        world = cls(rank, device)
        if rank.world_size > 1:
            if device.type == "cuda":
                torch.cuda.set_device(device)
            store = _meet(rank)
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=store,
                rank=rank.number,
                world_size=rank.world_size,
                timeout=_LONGEST_WAIT,
            )
            world._group = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
        return world

    def ask(self, wish: Decision) -> Decision:
        """Puts in this rank's wish and returns what all ranks wished for one call ago.

        Every rank must call it equally often. The exchange runs beside the device's work: with one rank the answer is
        immediate, with several it is one step old.
        """
        if self._group is None:
            return wish
        answer = self.settle()
        wishes = torch.tensor([int(bool(wish & flag)) for flag in (Decision.STOP, Decision.SAVE)], dtype=torch.uint8)
        work = dist.all_reduce(wishes, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._asked = (wishes, work)
        return answer

    def settle(self) -> Decision:
        """Waits for the last exchange, if there is one under way, and returns what it said."""
        if self._asked is None:
            return Decision.NOTHING
        wishes, work = self._asked
        self._asked = None
        if not work.is_completed():
            with self._heartbeat.waiting():
                work.wait()
        stop, save = (bool(value) for value in wishes.tolist())
        return (Decision.STOP if stop else Decision.NOTHING) | (Decision.SAVE if save else Decision.NOTHING)

    def all_true(self, value: bool) -> bool:
        """Whether it is true on every rank; every rank waits for all."""
        if self._group is None:
            return value
        flag = torch.tensor([int(value)], dtype=torch.uint8)
        with self._heartbeat.waiting():
            dist.all_reduce(flag, op=dist.ReduceOp.MIN, group=self._group)
        return bool(flag.item())

    def sum(self, values: list[float]) -> list[float]:
        """Sums over all ranks, in double precision."""
        if self._group is None:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        with self._heartbeat.waiting():
            dist.all_reduce(total, group=self._group)
        result: list[float] = total.tolist()
        return result

    def from_leader(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self._group is None:
            return value
        box = [value]
        with self._heartbeat.waiting():
            dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def wait_for_all(self) -> None:
        """Returns when every rank has come here."""
        if self._group is not None:
            with self._heartbeat.waiting():
                dist.barrier(group=self._group)

    def close(self) -> None:
        if self._group is not None:
            dist.destroy_process_group()


def choose_device(rank: Rank) -> torch.device:
    """The device of this rank. Raises DeviceUnavailable where devices were asked for and are not there."""
    wanted = rank.config.world.device
    if wanted == "CPU":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count > rank.local_number:
        return torch.device("cuda", rank.local_number)
    if wanted == "CUDA":
        raise DeviceUnavailable(
            f"Rank {rank.number} needs CUDA device {rank.local_number} and sees {count} device(s): the driver, the "
            "device plugin or the node's devices are at fault."
        )
    if rank.world_size == 1 and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _meet(rank: Rank) -> Any:
    """A store on rank 0 that every rank has reached. Raises ConnectionError when one has not come in time.

    In short waits, so that SIGTERM is heard in between: the library's own wait is deaf to it. A pod's name resolves
    about a second after it starts, hence the retries.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    policy = rank.config.spec.retry_policy
    limit = (policy and policy.start_deadline_seconds) or 3600
    deadline = time.monotonic() + limit
    logger.info("Meeting %d ranks at %s:%d", rank.world_size, address, port)
    # Started by torchrun, rank 0 finds a store that torchrun's agent serves on this port.
    serves = rank.number == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = None
    while store is None:
        try:
            store = TCPStore(address, port, rank.world_size, serves, timeout=_ONE_TRY, wait_for_workers=False)
        except dist.DistError as error:
            if time.monotonic() > deadline:
                raise ConnectionError(f"Rank {rank.number} could not reach {address}:{port}: {error}") from error
            rank.heartbeat()
            time.sleep(0.2)
    store.add("arrived", 1)
    while (arrived := store.add("arrived", 0)) < rank.world_size:
        if time.monotonic() > deadline:
            raise ConnectionError(f"Of {rank.world_size} ranks only {arrived} have come within {limit} s.")
        rank.heartbeat()
        time.sleep(0.05)
    return store

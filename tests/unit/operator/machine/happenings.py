"""What may happen to a job, by name; each is one call on a life, with a number that chooses among its kinds."""

from __future__ import annotations

from collections.abc import Callable

from finetune_api.trainer_contract import EndKind
from finetune_operator.kube.protocol import POD

from .api_server import WATCHED
from .connection import FAULTS
from .life import TERMINAL, Life

_ENDS = (
    EndKind.FINISHED,
    EndKind.INTERNAL_ERROR,
    EndKind.INTERNAL_ERROR,
    EndKind.USER_ERROR,
    EndKind.DEVICE_OUT_OF_MEMORY,
    EndKind.HOST_OUT_OF_MEMORY,
    EndKind.INTERRUPTED,
    EndKind.HANG,
    EndKind.DEVICE_UNAVAILABLE,
    EndKind.DIVERGED,
)
_DISRUPTIONS = ("EvictionByEvictionAPI", "PreemptionByScheduler", "TerminationByKubelet")
_SECONDS = (1, 10, 60, 400, 1000)


def _pod(life: Life, number: int) -> str | None:
    running = life.cluster.running()
    return running[number % len(running)]["metadata"]["name"] if running else None


def _end(life: Life, number: int) -> None:
    pod = _pod(life, number)
    if pod is not None:
        life.cluster.end(pod, _ENDS[number % len(_ENDS)])


def _kill(life: Life, number: int) -> None:
    pod = _pod(life, number)
    if pod is not None:
        life.cluster.end(pod, EndKind.HOST_OUT_OF_MEMORY if number % 3 == 0 else EndKind.INTERNAL_ERROR, killed=True)


def _train(life: Life, number: int) -> None:
    """Steps, and mostly a checkpoint, or the beginning of one; rarely the numbers overflow."""
    pod = _pod(life, number)
    if pod is None:
        return
    life.cluster.train(pod, 1 + number)
    if number % 10 == 9:
        life.cluster.overflow(pod)
    elif number % 5 == 1:
        life.cluster.begin_to_save(pod)
    elif number % 2 == 0:
        life.cluster.save(pod)


def _delete_pod(life: Life, number: int) -> None:
    pod = _pod(life, number)
    if pod is not None:
        life.api.delete(POD, pod, grace=0 if number % 3 == 0 else None)


def _disrupt(life: Life, number: int) -> None:
    pod = _pod(life, number)
    if pod is not None:
        life.cluster.disrupt(pod, _DISRUPTIONS[number % 3])


def _lose_node(life: Life, number: int) -> None:
    running = life.cluster.running()
    if running:
        life.cluster.lose_node(running[number % len(running)])


def _cancel(life: Life, number: int) -> None:
    if number % 3 == 0:
        life.edit(cancel=True)


def _delete_job(life: Life, number: int) -> None:
    """Mostly applied again at once, as a GitOps tool does; sometimes before all of it is gone."""
    life.delete_job(foreground=number % 2 == 0)
    if number % 4 < 2:
        life.cluster.move()
    if number % 3:
        life.apply()


def _apply(life: Life, number: int) -> None:
    if life.status().get("phase") in TERMINAL:
        life.delete_job(foreground=False)
    life.apply()


def _edit_in_between(life: Life, number: int) -> None:
    """An edit between what the operator saw and what it writes."""
    edits = (
        lambda: life.edit(suspend=True),
        lambda: life.edit(suspend=False),
        lambda: life.edit(cancel=True),
        lambda: life.delete_child(foreground=True),
        lambda: life.cluster.move(),
        lambda: life.hear(),
    )
    life.connection.between(edits[number % len(edits)])


HAPPENINGS: dict[str, Callable[[Life, int], None]] = {
    "suspend": lambda life, number: life.edit(suspend=True),
    "resume": lambda life, number: life.edit(suspend=False),
    "cancel": _cancel,
    "deadline": lambda life, number: life.edit(activeDeadlineSeconds=(None, 60, 600)[number % 3]),
    "delete the job": _delete_job,
    "apply": _apply,
    "delete the child": lambda life, number: life.delete_child(foreground=number % 2 == 0),
    "a pod ends": _end,
    "a pod is killed": _kill,
    "a pod trains": _train,
    "a pod is deleted": _delete_pod,
    "a pod is disrupted": _disrupt,
    "a node is lost": _lose_node,
    "pods under deletion end": lambda life, number: life.cluster.stop_deleted(killed=number % 4 == 0),
    "the cluster moves": lambda life, number: life.cluster.move(),
    "time passes": lambda life, number: life.pass_time(_SECONDS[number % len(_SECONDS)]),
    "some is heard": lambda life, number: life.hear((WATCHED[number % 3],), 1 + number // 3),
    "an event is lost": lambda life, number: life.connection.drop(WATCHED[number % 3]),
    "an event is repeated": lambda life, number: life.connection.repeat(life.controller.take, number),
    "the watch begins anew": lambda life, number: life.connection.list_again(life.controller, number // 2),
    "trainers fall silent": lambda life, number: setattr(life.cluster, "deaf", number % 2 == 0),
    "a write fails": lambda life, number: life.connection.strike(FAULTS[number % len(FAULTS)], 1 + number // 8),
    "a read fails": lambda life, number: life.connection.blind(1 + number % 3),
    "the queue holds the child": lambda life, number: life.hold(True, number % 2 == 1),
    "the queue admits the child": lambda life, number: life.hold(False),
    "an edit in between": _edit_in_between,
    "the operator crashes": lambda life, number: life.crash(),
}
"""Numbers are 0 to 29."""

AFTERWARDS: dict[str, Callable[[Life], None]] = {
    "all settles": Life.flow,
    "the operator works": Life.work,
    "it hears and works": lambda life: (life.hear(), life.work())[0],
    "nothing": lambda life: None,
}


def play(life: Life, happening: str, number: int, afterwards: str) -> None:
    """Lets something happen, and what follows of it at once."""
    HAPPENINGS[happening](life, number)
    AFTERWARDS[afterwards](life)

"""What Kueue says of a Job that it holds; the Workloads say what those of a real Kueue 0.19 said."""

import asyncio
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from finetune_operator import kueue
from finetune_operator.errors import ForbiddenError, KubeError, NotFoundError, UnavailableError
from finetune_operator.kube.protocol import Document, Kind, Kube
from finetune_operator.kueue import AT_ONCE, LABEL, Kueue, reason
from finetune_operator.observation import Child, Obstacle
from tests.builders.observations import NOW

QUEUE = {"kueue.x-k8s.io/queue-name": "team", "kueue.x-k8s.io/priority-class": "low"}
NO_ROOM = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "insufficient unused quota"}
ROOM = {"type": "QuotaReserved", "status": "True", "reason": "QuotaReserved", "message": "Quota reserved"}
EVICTED = {"type": "Evicted", "status": "True", "reason": "Preempted", "message": "Preempted to accommodate a workload"}
STOPPED = {"type": "Evicted", "status": "True", "reason": "Deactivated", "message": "The workload is deactivated"}
WAS_EVICTED = {**EVICTED, "status": "False", "message": "Previously: Preempted"}
CHECK = {"name": "capacity", "state": "Pending", "message": "nodes are being made"}


def a_workload(
    *conditions: dict[str, str], active: bool = True, checks: tuple[dict[str, str], ...] = (), of: str = "u"
) -> Document:
    status = {"conditions": list(conditions), "admissionChecks": list(checks)}
    metadata = {"name": "job-python-coder-1-00035", "labels": {LABEL: of}}
    return {"metadata": metadata, "spec": {"active": active}, "status": status}


@pytest.mark.parametrize(
    ("workload", "why"),
    [
        (a_workload(), None),
        (a_workload(NO_ROOM), "Pending: insufficient unused quota"),
        (a_workload(ROOM, EVICTED), "Preempted: Preempted to accommodate a workload"),
        (a_workload(NO_ROOM, EVICTED), "Pending: insufficient unused quota"),
        (a_workload(ROOM, WAS_EVICTED), None),
        (a_workload(ROOM, checks=(CHECK,)), "AdmissionCheckPending: capacity: nodes are being made"),
        (a_workload(ROOM, checks=({"name": "capacity", "state": "Ready"},)), None),
        (
            a_workload(NO_ROOM, STOPPED, active=False),
            "Deactivated: The workload is deactivated; Workload job-python-coder-1-00035 stays out until its "
            "spec.active is true",
        ),
    ],
)
def test_the_reason_is_kueues_own(workload: Document, why: str | None) -> None:
    found = reason(workload)
    assert (found and f"{found.reason}: {found.message}") == why


class Server:
    """An API server with one answer about Workloads; counts who asks."""

    def __init__(self, answer: list[Document] | KubeError) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def list(self, kind: Kind, namespace: str, labels: str) -> list[Document]:
        self.asked.append(f"{kind.plural} {namespace} {labels}")
        if isinstance(self.answer, KubeError):
            raise self.answer
        return self.answer


async def asked(server: Server, labels: dict[str, str] | None = None, after: float = 60, **child: Any) -> list[str]:
    """What a Kueue client tells twice in a row of a Job of this age."""
    client = Kueue(cast(Kube, server))
    at: datetime = NOW + timedelta(seconds=after)
    job = Child(name="python-coder-1", uid="u", version="1", owner_uid="o", created=NOW, suspended=True, **child)
    told = [await client.about("team", job, QUEUE if labels is None else labels, at) for _ in range(2)]
    return [f"{one.reason}: {one.message}" if isinstance(one, Obstacle) else "nothing" for one in told]


async def test_one_answer_serves_for_a_moment() -> None:
    server = Server([a_workload(NO_ROOM)])
    assert await asked(server) == ["Pending: insufficient unused quota"] * 2
    assert server.asked == ["workloads team kueue.x-k8s.io/job-uid in (u)"]


class Workloads:
    """An API server with a Workload for each Job that is asked for, which says that Job's uid; or one that is away."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.away = False

    async def list(self, kind: Kind, namespace: str, labels: str) -> list[Document]:
        uids = labels.removeprefix(f"{LABEL} in (").removesuffix(")").split(",")
        self.asked.append(uids)
        await asyncio.sleep(0)
        if self.away:
            raise UnavailableError("no answer in time")
        return [a_workload({**NO_ROOM, "message": uid}, of=uid) for uid in uids]


async def test_who_asks_asks_for_others_whose_turn_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(kueue, "time", SimpleNamespace(monotonic=lambda: clock.now))
    server = Workloads()
    asked, uids = Kueue(cast(Kube, server)), [f"u-{number}" for number in range(2 * AT_ONCE + 1)]

    async def told(*uids: str) -> list[Obstacle | None]:
        jobs = [Child(name=uid, uid=uid, version="1", owner_uid="o", created=NOW, suspended=True) for uid in uids]
        return await asyncio.gather(*(asked.about("team", job, QUEUE, NOW) for job in jobs))

    assert await told(*uids) == [Obstacle("Pending", uid) for uid in uids]
    assert [len(question) for question in server.asked] == [1, AT_ONCE, AT_ONCE]
    clock.now += 300
    await told(uids[0])
    assert [len(question) for question in server.asked[3:]] == [AT_ONCE]
    clock.now += 100
    served = server.asked[3]
    assert await told(*served[1:]) == [Obstacle("Pending", uid) for uid in served[1:]]
    assert len(server.asked) == 4, "what was asked for with another is not old, for who looks each 400 s"
    server.away = True
    clock.now += 300
    assert await told(*uids) == [Obstacle("Pending", uid) for uid in uids], "the answers of before"
    assert len(server.asked) == 5, "nobody asks again who has waited for the question that failed"


async def test_a_job_that_was_let_go_is_told_nothing_of_before() -> None:
    server = Server([a_workload(NO_ROOM)])
    client = Kueue(cast(Kube, server))
    job = Child(name="python-coder-1", uid="u", version="1", owner_uid="o", created=NOW, suspended=True)
    assert await client.about("team", job, QUEUE, NOW) == Obstacle("Pending", "insufficient unused quota")
    client.let_go("team", "u")
    server.answer = [a_workload(ROOM, EVICTED)]
    assert await client.about("team", job, QUEUE, NOW) == Obstacle("Preempted", EVICTED["message"])


@pytest.mark.parametrize("error", [NotFoundError("no such kind", 404), ForbiddenError("no", 403)])
async def test_a_cluster_without_kueue_is_not_asked_again(error: KubeError) -> None:
    server = Server(error)
    assert await asked(server) == ["nothing"] * 2
    assert len(server.asked) == 1


async def test_a_namespace_that_may_not_be_read_silences_no_other() -> None:
    server = Server(ForbiddenError("no", 403))
    client = Kueue(cast(Kube, server))
    job = Child(name="python-coder-1", uid="u", version="1", owner_uid="o", created=NOW, suspended=True)
    assert await client.about("closed", job, QUEUE, NOW) is None
    server.answer = [a_workload(NO_ROOM)]
    assert await client.about("closed", job, QUEUE, NOW) is None
    assert await client.about("team", job, QUEUE, NOW) == Obstacle("Pending", "insufficient unused quota")


async def test_a_question_that_fails_is_asked_again() -> None:
    server = Server(UnavailableError("no answer in time"))
    assert await asked(server) == ["nothing"] * 2
    assert len(server.asked) == 2


async def test_a_job_that_kueue_does_not_take_up_is_told_what_to_look_at() -> None:
    told = await asked(Server([]))
    assert told[0].endswith("does Kueue run, and is there a WorkloadPriorityClass low?")
    assert await asked(Server([]), after=1) == ["nothing"] * 2, "it was only just made"
    assert await asked(Server([]), labels={}) == ["nothing"] * 2, "somebody else suspended it"

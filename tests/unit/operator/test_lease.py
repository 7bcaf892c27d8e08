"""The Lease between two replicas over a store that checks versions, as the API server does."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from finetune_operator.errors import AlreadyExistsError, ConflictError, ForbiddenError, NotFoundError
from finetune_operator.kube.lease import Lease
from finetune_operator.kube.protocol import Kind


class Store:
    """One Lease, with optimistic locking; the part of Kube that a Lease uses."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.version = 0

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        if self.stored is None:
            raise NotFoundError("none", 404)
        return copy.deepcopy(self.stored)

    async def create(self, kind: Kind, document: dict[str, Any]) -> dict[str, Any]:
        if self.stored is not None:
            raise AlreadyExistsError("there", 409)
        return self._store(document)

    async def replace(self, kind: Kind, document: dict[str, Any]) -> dict[str, Any]:
        assert self.stored is not None
        if document["metadata"]["resourceVersion"] != self.stored["metadata"]["resourceVersion"]:
            raise ConflictError("changed", 409)
        return self._store(document)

    def _store(self, document: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.stored = copy.deepcopy(document)
        self.stored["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.stored)


def a_lease(store: Store, identity: str) -> Lease:
    return Lease(store, "ns", "operator", identity, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))  # type: ignore[arg-type]  # the part of Kube that a Lease uses


@pytest.fixture
def store() -> Store:
    return Store()


async def test_the_first_replica_leads_and_the_second_does_not(store: Store) -> None:
    first, second = a_lease(store, "first"), a_lease(store, "second")
    await first.acquire()
    assert not await second._try()


async def test_a_replica_that_waits_says_that_it_sees_the_lease(store: Store) -> None:
    await a_lease(store, "first").acquire()
    seen: list[bool] = []
    second = Lease(store, "ns", "operator", "second", seen=lambda: seen.append(True))  # type: ignore[arg-type]  # as above
    assert not await second._try()
    assert seen == [True]


async def test_a_replica_that_cannot_read_the_lease_does_not_say_so(store: Store) -> None:
    async def forbidden(*_: object) -> dict[str, Any]:
        raise ForbiddenError("leases is forbidden", 403)

    store.get = forbidden  # type: ignore[method-assign]  # as a server answers without the rights
    seen: list[bool] = []
    assert not await Lease(store, "ns", "operator", "second", seen=lambda: seen.append(True))._try()  # type: ignore[arg-type]  # as above
    assert seen == []


async def test_a_restarted_replica_of_the_same_name_goes_on_at_once(store: Store) -> None:
    await a_lease(store, "pod-1").acquire()
    assert await a_lease(store, "pod-1")._try()


async def test_what_is_given_back_is_free(store: Store) -> None:
    first, second = a_lease(store, "first"), a_lease(store, "second")
    await first.acquire()
    await first.release()
    assert await second._try()
    assert store.stored is not None
    assert store.stored["spec"]["holderIdentity"] == "second"
    assert store.stored["spec"]["leaseTransitions"] == 2


async def test_of_two_that_try_at_once_one_wins(store: Store) -> None:
    first, second = a_lease(store, "first"), a_lease(store, "second")
    await first.acquire()
    await first.release()
    found = await store.get(None, "", "")  # type: ignore[arg-type]  # there is but one object
    assert await second._try()
    with pytest.raises(ConflictError):
        await store.replace(None, found)  # type: ignore[arg-type]  # there is but one object

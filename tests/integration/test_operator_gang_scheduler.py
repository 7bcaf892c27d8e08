"""A job of two nodes under the scheduler of scheduler-plugins: all of its pods get a node, or none."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client

from tests.builders.manifests import JobManifest, a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.gang_scheduler import NAME, gang_scheduler_beside, release
from tests.cluster.pods import PodPlayer, create_node
from tests.cluster.waiting import until
from tests.integration.jobs import Jobs

RELEASE = release()
pytestmark = [
    pytest.mark.usefixtures("gang_scheduler", "operator", "volumes"),
    pytest.mark.release("FINETUNE_SCHEDULER_PLUGINS"),
]
JOB = "python-coder"
LABEL = {"scheduling.x-k8s.io/pod-group": "gang"}


@pytest.fixture(scope="module")
def gang_scheduler(control_plane: ControlPlane) -> Iterator[None]:
    assert RELEASE is not None
    with gang_scheduler_beside(control_plane, RELEASE):
        yield


@pytest.fixture
def nodes(api: client.ApiClient, namespace: str) -> Iterator[list[str]]:
    """Two nodes of this test with a CPU each."""
    core = client.CoreV1Api(api)
    names = [f"{namespace}-{number}" for number in (1, 2)]
    room = {"cpu": "1", "memory": "8Gi", "pods": "10"}
    for name in names:
        create_node(core, name, {"pool": namespace}, room)
    yield names
    for name in names:
        core.delete_node(name)


@pytest.fixture
def volumes(api: client.ApiClient, jobs: Jobs) -> Iterator[None]:
    """What the job's claims are bound to; the scheduler waits for that."""
    core = client.CoreV1Api(api)
    names = {claim: f"{jobs.namespace}-{claim}" for claim in ("models", "datasets", "results")}
    for claim, name in names.items():
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "hostPath": {"path": "/none"},
            "claimRef": {"namespace": jobs.namespace, "name": claim},
        }
        core.create_persistent_volume({"metadata": {"name": name}, "spec": spec})
    bound = core.list_namespaced_persistent_volume_claim
    until(lambda: all(one.status.phase == "Bound" for one in bound(jobs.namespace).items), "the claims to be bound")
    yield
    for name in names.values():
        core.delete_persistent_volume(name)


def a_gang(namespace: str) -> JobManifest:
    pods = {"schedulerName": NAME, "labels": LABEL, "nodeSelector": {"pool": namespace}}
    return a_manifest().on_nodes(2).computing(cpu="1", memory="1Gi").with_pods(**pods).retrying(backoffSeconds=0)


def a_guest(node: str) -> dict[str, Any]:
    """A pod of somebody else that has the node's CPU."""
    container = {"name": "c", "image": "none", "resources": {"requests": {"cpu": "1"}}}
    spec = {"nodeName": node, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "guest"}, "spec": spec}


def test_a_gang_gets_all_its_nodes_or_none(
    jobs: Jobs, pods: PodPlayer, nodes: list[str], apply: Callable[..., Any]
) -> None:
    group = {"apiVersion": "scheduling.x-k8s.io/v1alpha1", "kind": "PodGroup", "metadata": {"name": "gang"}}
    apply([group | {"spec": {"minMember": 2}}, a_guest(nodes[1])])
    jobs.apply(a_gang(jobs.namespace))
    said = jobs.wait_condition(JOB, "Running", "Unschedulable")
    assert "nodes are available" in said["message"]
    assert "Claim" not in said["message"]
    assert placed(jobs, pods) == [None, None], "one of them would fit"

    pods.delete(next(pod for pod in pods.wait(3) if pod.metadata.name == "guest"), grace_seconds=0)
    until(lambda: placed(jobs, pods) == nodes, "both pods to have a node each", timeout=60)
    for pod in pods.wait(2, job=f"{JOB}-1"):
        pods.run(pod)
    jobs.wait(JOB, "Running")

    crashed, *_ = pods.wait(2, job=f"{JOB}-1")
    pods.fail(crashed)
    until(lambda: placed(jobs, pods, attempt=2) == nodes, "the next attempt to be placed as a whole", timeout=60)


def placed(jobs: Jobs, pods: PodPlayer, attempt: int = 1) -> list[str | None]:
    """The nodes of an attempt's pods."""
    found = pods.wait(2, job=f"{JOB}-{attempt}")
    return sorted((pod.spec.node_name for pod in found), key=lambda name: name or "")

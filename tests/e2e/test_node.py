"""Tries the node that every other end-to-end test stands on; nothing of ours runs here."""

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.images import BASE
from tests.e2e.jobs import Jobs
from tests.e2e.learning import Expected
from tests.e2e.nodes import calm_node, expect_trouble_on, troubled_node
from tests.e2e.side_by_side import BESIDE, TROUBLED, side_by_side

pytestmark = BESIDE

RESOLVE = """
import socket
socket.create_connection(("kubernetes.default.svc", 443), timeout=10)
print("reached")
"""
# Rank 0 serves and every other rank reports to it by the name that the headless Service gives its pod.
MEET = """
import os, socket, time
rank, name = int(os.environ["JOB_COMPLETION_INDEX"]), os.environ["MEETING"]
if rank == 0:
    server = socket.create_server(("", 29500))
    guest, _ = server.accept()
    print("met", guest.recv(16).decode())
else:
    for attempt in range(100):
        try:
            guest = socket.create_connection((name, 29500), timeout=5)
            break
        except OSError:
            time.sleep(0.2)
    guest.sendall(b"rank %d" % rank)
"""


def a_pod(program: str, **spec: Any) -> dict[str, Any]:
    """Return the spec of a pod that meets the restricted standard and runs a Python program."""
    container = {
        "name": "main",
        "image": BASE,
        "command": ["python3", "-c", program],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    } | spec.pop("container", {})
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    } | spec


def a_job(name: str, namespace: str, pod: dict[str, Any], ranks: int = 1) -> dict[str, Any]:
    spec = {"completions": ranks, "parallelism": ranks, "completionMode": "Indexed", "backoffLimit": 0}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec | {"template": {"spec": pod}}}


def logs_of(cluster: Cluster, job: str, namespace: str) -> str:
    """Wait until the Job has ended well and return what its pods wrote."""
    cluster.kubectl("wait", "--for=condition=Complete", f"job/{job}", "-n", namespace, "--timeout=120s")
    return cluster.kubectl("logs", "-n", namespace, "-l", f"batch.kubernetes.io/job-name={job}")


def test_a_restricted_pod_reaches_a_service_by_its_name(cluster: Cluster, restricted: str) -> None:
    cluster.apply(a_job("resolve", restricted, a_pod(RESOLVE)))
    assert logs_of(cluster, "resolve", restricted) == "reached\n"


@side_by_side(TROUBLED)
def test_the_pods_of_an_indexed_job_meet_through_a_headless_service(jobs: Jobs, undisturbed: Expected) -> None:
    cluster, namespace = jobs.cluster, jobs.namespace
    selector = {"batch.kubernetes.io/job-name": "meet"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "meet", "namespace": namespace},
        "spec": {"clusterIP": "None", "selector": selector, "publishNotReadyAddresses": True},
    }
    meeting = {"name": "MEETING", "value": "meet-0.meet"}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": selector},
    }
    anywhere = {
        "topologySpreadConstraints": [spread],
        "tolerations": expect_trouble_on(troubled_node(cluster)),
    }
    pod = a_pod(MEET, subdomain="meet", container={"env": [meeting]}, **anywhere)
    cluster.apply(service, a_job("meet", namespace, pod, ranks=2))
    assert logs_of(cluster, "meet", namespace) == "met rank 1\n"
    place = "jsonpath={.items[*].spec.nodeName}"
    placed = cluster.kubectl("get", "pods", "-n", namespace, "-o", place).split()
    assert set(placed) == {calm_node(cluster), troubled_node(cluster)}


def test_a_pod_reads_a_filled_volume_and_writes_an_empty_one(cluster: Cluster, restricted: str, tmp_path: Path) -> None:
    (tmp_path / "question").write_text("six by nine")
    cluster.claim("given", restricted, tmp_path)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "made", "namespace": restricted},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    names = ("given", "made")
    pod = a_pod(
        "open('/made/answer', 'w').write(open('/given/question').read())",
        container={"volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in names]},
        volumes=[{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names],
    )
    job = a_job("copy", restricted, pod)
    cluster.apply(claim, job)
    logs_of(cluster, "copy", restricted)
    assert (cluster.claim_directory("made", restricted) / "answer").read_text() == "six by nine"


def test_a_container_over_its_memory_limit_is_killed_for_it(cluster: Cluster, restricted: str) -> None:
    limit = {"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi", "cpu": "10m"}}
    pod = a_pod("b'x' * (256 * 1024 * 1024)", container={"resources": limit})
    cluster.apply(a_job("greedy", restricted, pod))
    cluster.kubectl("wait", "--for=condition=Failed", "job/greedy", "-n", restricted, "--timeout=60s")
    ended = "jsonpath={.items[0].status.containerStatuses[0].state.terminated.reason}"
    assert cluster.kubectl("get", "pods", "-n", restricted, "-o", ended) == "OOMKilled"


def test_a_privileged_pod_is_refused(cluster: Cluster, restricted: str) -> None:
    pod = a_pod("pass") | {"securityContext": {}}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": restricted}, "spec": pod}
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        cluster.apply(manifest)

"""What a person would look at after a failed end-to-end test, as text for the report; judges nothing."""

from __future__ import annotations

from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError

RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
LOG_LINES = "150"


def diagnose(cluster: Cluster) -> list[tuple[str, str]]:
    """Return (title, text) of jobs, objects, events, pods and logs in every namespace that tests or operator use."""
    try:
        namespaces = cluster.kubectl("get", "namespaces", "-l", RESTRICTED, "-o", "name").split()
    except ClusterError as error:  # it is gone already: to ask for anything else is in vain
        return [("the cluster", str(error))]
    sections = [("nodes and volumes", _said(cluster, "get", "nodes,pv", "-o", "wide"))]
    for namespace in namespaces:
        sections += _of_namespace(cluster, namespace.removeprefix("namespace/"))
    return sections


def _of_namespace(cluster: Cluster, namespace: str) -> list[tuple[str, str]]:
    here = ("-n", namespace)
    sections = [
        (f"{namespace}: objects", _said(cluster, "get", "ftj,jobs,pods,pvc,svc", *here, "-o", "wide")),
        (f"{namespace}: jobs", _said(cluster, "get", "ftj", *here, "-o", "yaml")),
        (f"{namespace}: events", _said(cluster, "get", "events", *here, "--sort-by=.metadata.creationTimestamp")),
    ]
    for pod in _said(cluster, "get", "pods", *here, "-o", "name").split():
        logs = ("logs", *here, pod, f"--tail={LOG_LINES}", "--all-containers")
        sections.append((f"{namespace}: {pod}", _said(cluster, "describe", *here, pod)))
        sections.append((f"{namespace}: log of {pod}", _said(cluster, *logs)))
        before = cluster.kubectl(*logs, "--previous", check=False)
        if before:
            sections.append((f"{namespace}: log of {pod} before its restart", before))
    return sections


def _said(cluster: Cluster, *arguments: str) -> str:
    try:
        return cluster.kubectl(*arguments)
    except ClusterError as error:  # the report goes on with what can be had
        return str(error)

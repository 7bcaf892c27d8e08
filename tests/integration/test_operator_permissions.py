"""What the operator asks of the API server: no more rights than it uses, and no more writes than its budget."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from finetune_operator.controller import Controller
from finetune_operator.kube import credentials
from finetune_operator.kube.client import ApiServer
from finetune_operator.kube.protocol import FINE_TUNE_JOB, JOB, POD
from finetune_operator.settings import Settings
from tests.builders.manifests import a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.pods import NODE, PodPlayer
from tests.cluster.waiting import until
from tests.integration.conftest import DEPLOY
from tests.integration.jobs import FINISHED, Jobs
from tests.integration.operator_process import OperatorProcess, StartOperator

USER = "system:serviceaccount:finetune-system:finetune-operator"
NAME = "python-coder"


def requests_of_the_operator(control_plane: ControlPlane, namespace: str | None = None) -> list[dict[str, Any]]:
    return control_plane.audit_events(
        lambda event: (
            event["user"]["username"] == USER
            and "objectRef" in event
            and (namespace is None or event["objectRef"].get("namespace") == namespace)
        )
    )


def test_an_undisturbed_job_stays_within_its_budget_of_writes(
    jobs: Jobs, pods: PodPlayer, operator: OperatorProcess, control_plane: ControlPlane
) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait()
    pods.run(pod)
    jobs.wait(NAME, "Running")
    pods.succeed(pod, jobs.record(NAME, "Finished", **FINISHED))
    jobs.wait(NAME, "Succeeded")
    until(lambda: "Succeeded" in jobs.events(NAME), "the last event")
    operator.stop()
    written = [
        event
        for event in requests_of_the_operator(control_plane, jobs.namespace)
        if event["verb"] in ("create", "update", "patch", "delete")
    ]
    events = [event for event in written if event["objectRef"]["resource"] == "events"]
    others = [f"{event['verb']} {event['objectRef']['resource']}" for event in written if event not in events]
    assert len(others) <= 6, others
    assert len(events) <= 4


async def test_a_pod_that_a_lost_node_cannot_end_is_taken_away(
    jobs: Jobs, pods: PodPlayer, api: client.ApiClient, operator_account: Path
) -> None:
    """In this process, so that the clock can be set: the operator waits for the grace period and a minute."""
    kube = ApiServer(credentials.find(operator_account), through_proxy=False)
    late = timedelta(hours=1)
    controller = Controller(kube, Settings(lease=False), clock=lambda: datetime.now(UTC) + late)
    core, batch = client.CoreV1Api(api), client.BatchV1Api(api)

    def tell() -> None:
        """What the watches would."""
        controller.take(FINE_TUNE_JOB, None, jobs.get(NAME))
        for child in jobs.children():
            controller.take(JOB, None, jobs.child(child))
        for pod in core.list_namespaced_pod(jobs.namespace).items:
            controller.take(POD, None, api.sanitize_for_serialization(pod))

    try:
        jobs.apply(a_manifest())
        await reconcile(controller, tell, jobs.namespace)
        (pod,) = pods.wait()
        pods.run(pod)
        until(lambda: jobs.child(f"{NAME}-1")["status"].get("ready"), "the Job to see its pod")
        await reconcile(controller, tell, jobs.namespace)
        pods.hold_terminating()
        core.patch_node_status(NODE, {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})
        pods.delete(pod)
        await reconcile(controller, tell, jobs.namespace)
        pods.wait_gone(pod)
    finally:
        core.patch_node_status(NODE, {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        pods.release_terminating()
        batch.delete_collection_namespaced_job(jobs.namespace, propagation_policy="Background")
        await kube.close()


async def reconcile(controller: Controller, tell: Any, namespace: str) -> None:
    tell()
    await controller.reconcile_once((namespace, NAME))


def test_the_rights_that_are_granted_are_those_that_are_used(
    jobs: Jobs, pods: PodPlayer, start_operator: StartOperator, control_plane: ControlPlane, apply: Any
) -> None:
    start_operator({"FINETUNE_NAMESPACES": "[]", "FINETUNE_PLATFORM__STORAGE_SIZE": "1Gi"})
    rows = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": {"train.jsonl": "{}"}}
    apply(rows)
    dataset = {"sources": [{"configMap": {"name": "rows", "key": "train.jsonl"}}]}
    job = a_manifest().on_nodes(2).with_spec(storage=None, dataset=dataset, ttlSecondsAfterFinished=0)
    jobs.apply(job.retrying(backoffSeconds=0))
    for pod in pods.wait(2, job=f"{NAME}-1"):
        pods.run(pod)
    jobs.wait(NAME, "Running")
    jobs.delete_child(f"{NAME}-1")
    for pod in pods.wait(2, job=f"{NAME}-2"):
        pods.run(pod)
    jobs.wait(NAME, "Running")
    jobs.apply(job.retrying(backoffSeconds=0).cancelled())
    until(lambda: NAME not in jobs.names(), "the job to be deleted after its time to live")
    used = {_right(event) for event in requests_of_the_operator(control_plane)}
    refused = [event for event in requests_of_the_operator(control_plane) if _was_forbidden(event)]
    assert refused == []
    granted = _granted()
    assert used - granted == set()
    # Exercised by the test above, by those of starts, of watches and of a takeover, which may run in other processes.
    elsewhere = {("", "nodes", "get"), ("", "pods", "delete"), ("", "pods/status", "patch")}
    elsewhere |= {("finetune.dev", "finetunejobs", "get")}
    elsewhere |= {("events.k8s.io", "events", verb) for verb in ("get", "list")}
    elsewhere |= {("kueue.x-k8s.io", "workloads", "list")}
    # No request shows it: an admission plugin demands it of whoever lets an object wait for another.
    elsewhere |= {("networking.k8s.io", "networkpolicies/finalizers", "update")}
    assert granted - used <= elsewhere


def _was_forbidden(event: dict[str, Any]) -> bool:
    """By RBAC: a namespace that is going refuses new objects as well, with the same code."""
    return bool(event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid")


def _right(event: dict[str, Any]) -> tuple[str, str, str]:
    reference = event["objectRef"]
    resource = reference["resource"] + (f"/{reference['subresource']}" if "subresource" in reference else "")
    return reference.get("apiGroup", ""), resource, event["verb"]


def _granted() -> set[tuple[str, str, str]]:
    documents = yaml.safe_load_all((DEPLOY / "rbac.yaml").read_text())
    return {
        (group, resource, verb)
        for document in documents
        if document["kind"] in ("ClusterRole", "Role")
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }

"""Tries the control plane that every other integration test stands on; nothing of ours runs here."""

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from tests.cluster.control_plane import ControlPlane
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until

APP = {"name": "main", "image": "example.invalid/app"}


def a_job(name: str, completions: int = 1, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [APP]}}
    indexed = {"completionMode": "Indexed", "completions": completions, "parallelism": completions}
    spec = {"backoffLimit": 0, "template": template} | indexed | spec
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def jobs(api: client.ApiClient) -> client.BatchV1Api:
    return client.BatchV1Api(api)


def finished(jobs: client.BatchV1Api, name: str, namespace: str) -> str | None:
    """Return Complete or Failed, once the Job is."""
    status = jobs.read_namespaced_job_status(name, namespace).status
    ends = [one.type for one in status.conditions or [] if one.type in ("Complete", "Failed") and one.status == "True"]
    return ends[0] if ends else None


def test_a_job_whose_pods_succeed_is_complete(
    apply: Callable[..., Any], pods: PodPlayer, jobs: client.BatchV1Api, namespace: str
) -> None:
    apply(a_job("hello", completions=2))
    for pod in pods.wait(2, job="hello"):
        pods.run(pod)
        pods.succeed(pod, {"kind": "finished"})
    assert until(lambda: finished(jobs, "hello", namespace), "the end of the Job") == "Complete"


def test_a_termination_message_and_an_exit_code_can_be_read_back(
    apply: Callable[..., Any], pods: PodPlayer, api: client.ApiClient, namespace: str
) -> None:
    apply(a_job("broken"))
    (pod,) = pods.wait(job="broken")
    pods.run(pod)
    pods.fail(pod, exit_code=42, message="line 7", reason="OOMKilled")
    read = client.CoreV1Api(api).read_namespaced_pod(pod.metadata.name, namespace)
    ended = read.status.container_statuses[0].state.terminated
    assert (read.status.phase, ended.exit_code, ended.message, ended.reason) == ("Failed", 42, "line 7", "OOMKilled")


def test_an_evicted_pod_fails_a_job_that_says_so(
    apply: Callable[..., Any], pods: PodPlayer, jobs: client.BatchV1Api, namespace: str
) -> None:
    on_disruption = {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    apply(a_job("disrupted", podFailurePolicy={"rules": [on_disruption]}, podReplacementPolicy="Failed"))
    (pod,) = pods.wait(job="disrupted")
    pods.run(pod)
    pods.evict(pod)
    assert until(lambda: finished(jobs, "disrupted", namespace), "the end of the Job") == "Failed"


def test_deleting_a_job_in_the_foreground_waits_for_its_pods(
    apply: Callable[..., Any], pods: PodPlayer, jobs: client.BatchV1Api, namespace: str
) -> None:
    apply(a_job("doomed"))
    (pod,) = pods.wait(job="doomed")
    pods.run(pod)
    pods.hold_terminating()
    jobs.delete_namespaced_job("doomed", namespace, propagation_policy="Foreground")
    pods.wait(0, job="doomed")
    assert jobs.read_namespaced_job("doomed", namespace).metadata.deletion_timestamp
    pods.release_terminating()
    pods.wait_gone(pod)
    until(lambda: not jobs.list_namespaced_job(namespace).items, "the Job to go")


def test_an_object_goes_with_its_owner(apply: Callable[..., Any], api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    owner = apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}})["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
    apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "child", "ownerReferences": [reference]}})
    core.delete_namespaced_config_map("owner", namespace)
    until(lambda: not core.list_namespaced_secret(namespace).items, "the child to be collected")


def test_a_wrong_manifest_is_refused_with_the_servers_words(apply: Callable[..., Any]) -> None:
    with pytest.raises(client.ApiException, match=r"completionz: field not declared in schema"):
        apply(a_job("typo") | {"spec": a_job("typo")["spec"] | {"completionz": 2}})


def test_every_write_is_in_the_audit_log(
    apply: Callable[..., Any], control_plane: ControlPlane, namespace: str
) -> None:
    apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "audited"}})

    def ours(event: dict[str, Any]) -> bool:
        about = event.get("objectRef", {})
        return (about.get("namespace"), about.get("name")) == (namespace, "audited")

    (event,) = control_plane.audit_events(ours)
    assert (event["verb"], event["user"]["username"], event["responseStatus"]["code"]) == ("patch", "admin", 201)


def test_what_was_stored_survives_the_death_of_every_server(
    apply: Callable[..., Any], control_plane: ControlPlane, pods: PodPlayer, jobs: client.BatchV1Api, namespace: str
) -> None:
    apply(a_job("survivor"))
    pods.wait(job="survivor")
    for server in (control_plane.controller_manager, control_plane.apiserver, control_plane.etcd):
        server.kill()
    for server in (control_plane.etcd, control_plane.apiserver, control_plane.controller_manager):
        server.start()
    (pod,) = pods.wait(job="survivor")
    pods.succeed(pod)
    assert until(lambda: finished(jobs, "survivor", namespace), "the end of the Job") == "Complete"

"""The leader is killed in the middle of 200 jobs: the second replica works within 20 s, and nothing is doubled."""

import json
import threading
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from kubernetes import client

from finetune_api.trainer_contract import TrainerConfig
from tests.builders.manifests import a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import FINISHED, Jobs
from tests.integration.lives import jobs_made
from tests.integration.operator_process import StartOperator

NAMES = [f"job-{number}" for number in range(200)]
CRASH_ONCE = frozenset(NAMES[::10])
TAKEN_OVER_WITHIN = 20.0
LATE = "after-the-kill"


def test_nothing_is_lost_or_doubled_when_the_leader_is_killed(
    start_operator: StartOperator, jobs: Jobs, pods: PodPlayer, api: client.ApiClient, control_plane: ControlPlane
) -> None:
    first = start_operator({"FINETUNE_IDENTITY": "first"})
    until(lambda: "watching" in first.log.read_text(), "the first to lead")
    second = start_operator({"FINETUNE_IDENTITY": "second"})
    until(lambda: "another replica leads" in second.log.read_text(), "the second to wait")
    pods.always(lambda pod: train(pods, pod))
    applying = threading.Thread(target=lambda: [apply(jobs, name) for name in NAMES])
    applying.start()
    until(lambda: succeeded(jobs) >= len(NAMES) // 4, "a quarter of the jobs to be done", timeout=300, every=0.5)

    killed = datetime.now(UTC)
    first.kill()
    apply(jobs, LATE)
    until(lambda: leader(api, jobs.namespace).holder_identity == "second", "the second replica to lead", timeout=60)
    until(lambda: jobs.status(LATE), "the second replica to work", timeout=60)
    led = leader(api, jobs.namespace).acquire_time
    worked = min(when for when in operator_writes(control_plane, jobs.namespace) if when > led)
    seconds = [(moment - killed).total_seconds() for moment in (led, worked)]
    print(f"led after {seconds[0]:.1f} s, wrote to a job after {seconds[1]:.1f} s")
    assert max(seconds) < TAKEN_OVER_WITHIN

    applying.join()
    until(lambda: succeeded(jobs) == len(NAMES) + 1, "all jobs to be done", timeout=300, every=0.5)
    for name, status in jobs.statuses().items():
        reasons = [entry["reason"] for entry in status["history"]]
        assert reasons == (["Crash", "Finished"] if name in CRASH_ONCE else ["Finished"]), name
        assert status["restarts"]["total"] == len(reasons) - 1, name
    made = jobs_made(control_plane)[jobs.namespace]
    wanted = Counter(f"{name}-1" for name in [*NAMES, LATE]) + Counter(f"{name}-2" for name in CRASH_ONCE)
    assert jobs.children() == sorted(wanted)
    assert not made - wanted  # whose maker was killed before it was answered, is not among them
    second.stop()  # with it the last events are written
    assert max(transitions(api, jobs.namespace).values()) == 1
    assert "an event was lost" not in second.log.read_text()


def leader(api: client.ApiClient, namespace: str) -> client.V1LeaseSpec:
    """Who holds the Lease, since when."""
    return client.CoordinationV1Api(api).read_namespaced_lease(f"test-{namespace}", "finetune-system").spec


def apply(jobs: Jobs, name: str) -> None:
    jobs.apply(a_manifest().named(name).retrying(backoffSeconds=0))


def train(pods: PodPlayer, pod: client.V1Pod) -> None:
    """Runs the pod to its end; the first attempt of some jobs crashes."""
    config = TrainerConfig.decode(pod.spec.containers[0].env[0].value)
    said = {"contractVersion": 1, "uid": config.job.uid, "attempt": config.attempt, "run": config.attempt}
    pods.run(pod)
    if config.job.name in CRASH_ONCE and config.attempt == 1:
        pods.fail(pod, 1, {**said, "kind": "InternalError"})
    else:
        pods.succeed(pod, {**said, "kind": "Finished", **FINISHED})


def succeeded(jobs: Jobs) -> int:
    return sum(status.get("phase") == "Succeeded" for status in jobs.statuses().values())


def operator_writes(control_plane: ControlPlane, namespace: str) -> list[datetime]:
    """When the API server got the operators' writes for jobs; Leases and events left out."""

    def is_one(event: dict[str, Any]) -> bool:
        about = event.get("objectRef", {})
        by_operator = event["user"]["username"] == "system:serviceaccount:finetune-system:finetune-operator"
        is_write = event["verb"] in ("create", "patch", "update", "delete") and about.get("resource") != "events"
        return by_operator and is_write and about.get("namespace") == namespace

    return [datetime.fromisoformat(one["requestReceivedTimestamp"]) for one in control_plane.audit_events(is_one)]


def transitions(api: client.ApiClient, namespace: str) -> Counter[tuple[str, str]]:
    """How often which event was raised about which job; each attempt has its own words."""
    answer = client.CoreV1Api(api).list_namespaced_event(
        namespace, field_selector="involvedObject.kind=FineTuneJob", _preload_content=False
    )
    return Counter((event["involvedObject"]["name"], event["message"]) for event in json.loads(answer.data)["items"])

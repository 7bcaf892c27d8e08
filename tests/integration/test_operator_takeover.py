"""The leader is killed in the middle of 200 jobs: the second replica goes on within 20 s, and nothing is doubled."""

import json
import threading
import time
from collections import Counter
from typing import Any

from kubernetes import client

from finetune_api.trainer_contract import TrainerConfig
from tests.builders.manifests import a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import FINISHED, Jobs
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
    until(lambda: succeeded(jobs) >= len(NAMES) // 4, "a quarter of the jobs to be done", timeout=300)

    first.kill()
    killed = time.monotonic()
    apply(jobs, LATE)
    until(lambda: leader(api, jobs.namespace) == "second", "the second replica to lead", timeout=TAKEN_OVER_WITHIN)
    led = time.monotonic() - killed
    until(lambda: jobs.status(LATE), "the second replica to go on")
    print(f"led after {led:.1f} s; the first new job was seen {time.monotonic() - killed:.1f} s after the kill")

    applying.join()
    until(lambda: succeeded(jobs) == len(NAMES) + 1, "all jobs to be done", timeout=300, every=0.5)
    for name, status in jobs.statuses().items():
        reasons = [entry["reason"] for entry in status["history"]]
        assert reasons == (["Crash", "Finished"] if name in CRASH_ONCE else ["Finished"]), name
        assert status["restarts"]["total"] == len(reasons) - 1, name
    made = Counter(jobs_made(control_plane, jobs.namespace))
    assert made == Counter(f"{name}-1" for name in [*NAMES, LATE]) + Counter(f"{name}-2" for name in CRASH_ONCE)
    second.stop()  # with it the last events are written
    assert max(transitions(api, jobs.namespace).values()) == 1
    assert "an event was lost" not in second.log.read_text()


def leader(api: client.ApiClient, namespace: str) -> str:
    lease = client.CoordinationV1Api(api).read_namespaced_lease(f"test-{namespace}", "finetune-system")
    return str(lease.spec.holder_identity)


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


def jobs_made(control_plane: ControlPlane, namespace: str) -> list[str]:
    """The names of the Jobs that were made, each as often as it was."""

    def is_one(event: dict[str, Any]) -> bool:
        about = event.get("objectRef", {})
        made = event["verb"] == "create" and event["responseStatus"]["code"] == 201
        return made and (about.get("resource"), about.get("namespace")) == ("jobs", namespace)

    return [event["objectRef"]["name"] for event in control_plane.audit_events(is_one)]


def transitions(api: client.ApiClient, namespace: str) -> Counter[tuple[str, str]]:
    """How often which event was raised about which job; each attempt has its own words."""
    answer = client.CoreV1Api(api).list_namespaced_event(
        namespace, field_selector="involvedObject.kind=FineTuneJob", _preload_content=False
    )
    return Counter((event["involvedObject"]["name"], event["message"]) for event in json.loads(answer.data)["items"])

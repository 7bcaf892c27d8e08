"""What a cluster takes from a job in the middle, and what its user asks for: it ends as if nothing had happened."""

from __future__ import annotations

from tests.cluster.containers import freeze, processes, thaw
from tests.cluster.waiting import until
from tests.e2e.jobs import Document, Jobs, phase
from tests.e2e.learning import Expected, assert_same_learning
from tests.e2e.manifests import a_job, a_priority_class, after_the_silence
from tests.e2e.nodes import calm_node, drained, expect_trouble_on, silent, silent_node, troubled_node
from tests.e2e.side_by_side import CALM, SILENT, TROUBLED, side_by_side

ONE_DISRUPTION = {"total": 1, "failures": 0, "outOfMemory": 0, "disruptions": 1, "hangs": 0}


def assert_went_on(middle: int, job: Document) -> None:
    """The second attempt began at the newest checkpoint, which is not older than the one that was seen before."""
    first, second = job["status"]["history"]
    assert middle <= first["toStep"] == second["fromStep"]


@side_by_side(CALM)
def test_a_deleted_pod_is_replaced_and_goes_on_from_the_newest_checkpoint(jobs: Jobs, undisturbed: Expected) -> None:
    name = jobs.apply(a_job("pod-deleted").placed_on(calm_node(jobs.cluster)))
    middle = jobs.in_the_middle(name)
    (pod,) = jobs.pods(name)
    jobs.kubectl("delete", "pod", pod.metadata.name, "--wait=false")

    job = jobs.finished(name)
    assert job["status"]["attempt"] == 2
    assert job["status"]["restarts"] == ONE_DISRUPTION
    assert_went_on(middle, job)
    assert_same_learning(job, jobs, undisturbed.result())


@side_by_side(SILENT)
def test_a_writer_on_a_silent_node_is_replaced_and_fenced_off(jobs: Jobs, undisturbed: Expected) -> None:
    node = silent_node(jobs.cluster)
    # Shorter than by default: 5 s on a silent node and 10 s to end, after which the operator gives the pod another 60.
    impatient = [
        {"key": f"node.kubernetes.io/{trouble}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
        for trouble in ("not-ready", "unreachable")
    ]
    manifest = a_job("node-silent").preferring(node).with_pods(tolerations=[*impatient, *expect_trouble_on(node)])
    name = jobs.apply(manifest.with_spec(checkpoint={"everySteps": 25, "gracePeriodSeconds": 10}))
    middle = jobs.in_the_middle(name)
    (old,) = jobs.pods(name)
    assert old.spec.node_name == node
    log = jobs.log_file(old)
    writer = processes(old)
    freeze(writer)
    try:
        with silent(jobs.cluster, node):
            jobs.wait(name, "another attempt", lambda job: job["status"]["attempt"] == 2 and phase(job) == "Running")
            thaw(writer)  # now two of them write to one volume
            job = jobs.finished(name)
            until(lambda: "has taken over" in log.read_text(), "the old writer to see that it was replaced")
    finally:
        thaw(writer)

    (new,) = jobs.pods(name)
    assert new.spec.node_name == calm_node(jobs.cluster)
    assert job["status"]["restarts"] == ONE_DISRUPTION
    assert job["status"]["history"][0]["reason"] == "NodeLost"
    assert_went_on(middle, job)
    assert_same_learning(job, jobs, undisturbed.result())


@side_by_side(SILENT)
def test_a_suspended_job_frees_its_pod_and_resumes_where_it_was(jobs: Jobs, undisturbed: Expected) -> None:
    name = jobs.apply(after_the_silence("suspended", jobs))
    middle = jobs.in_the_middle(name)
    jobs.patch(name, {"suspend": True})
    suspended = jobs.wait(name, "its suspension", lambda job: phase(job) == "Suspended")
    assert middle <= suspended["status"]["checkpoint"]["latest"]["step"]
    assert jobs.pods(name) == []
    jobs.patch(name, {"suspend": False})

    job = jobs.finished(name)
    assert job["status"]["restarts"]["failures"] == 0
    assert_same_learning(job, jobs, undisturbed.result())


@side_by_side(TROUBLED)
def test_a_drained_node_hands_its_job_to_another(jobs: Jobs, undisturbed: Expected) -> None:
    troubled = troubled_node(jobs.cluster)
    manifest = a_job("node-drained").preferring(troubled)
    name = jobs.apply(manifest.with_pods(tolerations=expect_trouble_on(troubled)))
    middle = jobs.in_the_middle(name)
    (pod,) = jobs.pods(name)
    assert pod.spec.node_name == troubled
    with drained(jobs.cluster, troubled):
        job = jobs.finished(name)

    assert jobs.pods(name)[-1].spec.node_name == calm_node(jobs.cluster)
    assert job["status"]["restarts"] == ONE_DISRUPTION
    assert job["status"]["history"][0]["reason"] == "Evicted"
    assert_went_on(middle, job)
    assert_same_learning(job, jobs, undisturbed.result())


@side_by_side(TROUBLED)
def test_a_preempted_job_waits_for_the_urgent_one_and_goes_on(jobs: Jobs, undisturbed: Expected) -> None:
    troubled = troubled_node(jobs.cluster)
    jobs.cluster.apply(a_priority_class("urgent"))
    tolerations = expect_trouble_on(troubled)
    name = jobs.apply(a_job("preempted").placed_on(troubled).with_pods(tolerations=tolerations))
    middle = jobs.in_the_middle(name)
    urgent = a_job("urgent", steps=20).placed_on(troubled).computing(cpu="1500m")  # of the two that the node has
    jobs.apply(urgent.with_pods(priorityClassName="urgent", tolerations=tolerations))
    waiting = jobs.wait(name, "the urgent job to be in its way", _is_unschedulable)
    assert waiting["status"]["attempt"] == 2
    jobs.finished("urgent")

    job = jobs.finished(name)
    assert job["status"]["restarts"] == ONE_DISRUPTION
    assert job["status"]["history"][0]["reason"] == "Preempted"
    assert_went_on(middle, job)
    assert_same_learning(job, jobs, undisturbed.result())


def _is_unschedulable(job: Document) -> bool:
    conditions = job.get("status", {}).get("conditions", [])
    return any(one["type"] == "Running" and one["reason"] == "Unschedulable" for one in conditions)

"""The operator as a process: its probes and metrics, its polite end, and the replica that takes over."""

import json

import pytest

from tests.builders.manifests import a_manifest
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import Jobs
from tests.integration.operator_process import OperatorProcess, StartOperator


@pytest.fixture
def warm_operators() -> None:
    """Here each is the program that the image starts."""


def test_the_probes_and_metrics_tell_how_it_is(operator: OperatorProcess, jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    pods.wait()
    jobs.wait("python-coder", "Starting")
    status, said = operator.probe("/healthz")
    assert (status, said.split(",")[0]) == (200, "ok")
    # The operator hears of its own write a moment after everybody else can read it.
    until(lambda: 'finetune_jobs{phase="Starting"} 1.0' in operator.probe("/metrics")[1], "the job to be counted")
    created = 'finetune_api_requests_total{code="201",kind="jobs",verb="POST"} 1.0'
    assert created in operator.probe("/metrics")[1]


def test_a_cluster_that_cannot_be_reached_keeps_it_waiting_and_well(
    start_operator: StartOperator, tmp_path, operator_account
) -> None:
    nowhere = tmp_path / "nowhere.kubeconfig"
    nowhere.write_text(operator_account.read_text().replace("https://127.0.0.1:", "https://127.0.0.2:1"[:-1]))
    operator = start_operator(kubeconfig=nowhere)
    assert operator.probe("/healthz")[0] == 200
    assert operator.probe("/readyz")[0] == 503


def test_the_logs_are_json(operator: OperatorProcess) -> None:
    until(lambda: "watching" in operator.log.read_text(), "the first lines")
    for line in operator.log.read_text().splitlines():
        assert json.loads(line).keys() >= {"message", "level", "timestamp"}


def test_a_second_replica_goes_on_when_the_first_is_told_to_stop(
    start_operator: StartOperator, jobs: Jobs, pods: PodPlayer
) -> None:
    first = start_operator({"FINETUNE_IDENTITY": "first"})
    until(lambda: "watching" in first.log.read_text(), "the first to lead")
    second = start_operator({"FINETUNE_IDENTITY": "second"})
    until(lambda: "another replica leads" in second.log.read_text(), "the second to wait")
    assert second.probe("/readyz")[0] == 200
    first.stop()
    jobs.apply(a_manifest())
    pods.wait(job="python-coder-1")


def test_a_second_replica_goes_on_when_the_first_is_killed(
    start_operator: StartOperator, jobs: Jobs, pods: PodPlayer
) -> None:
    first = start_operator({"FINETUNE_IDENTITY": "first"})
    until(lambda: "watching" in first.log.read_text(), "the first to lead")
    start_operator({"FINETUNE_IDENTITY": "second"})
    jobs.apply(a_manifest())
    (pod,) = pods.wait(job="python-coder-1")
    first.kill()
    pods.succeed(pod, jobs.record("python-coder", "Finished"))
    jobs.wait("python-coder", "Succeeded", timeout=60)


def test_a_replica_whose_lease_is_taken_ends(
    start_operator: StartOperator, operator_account, control_plane, namespace: str
) -> None:
    operator = start_operator()
    until(lambda: "watching" in operator.log.read_text(), "it to lead")
    lease = f"lease/test-{namespace}"
    taken = json.dumps({"spec": {"holderIdentity": "somebody"}})
    control_plane.kubectl("patch", lease, "-n", "finetune-system", "--type=merge", "-p", taken)
    until(lambda: not operator.alive, "it to end")
    assert "was taken" in operator.log.read_text()

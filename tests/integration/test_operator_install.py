"""What deploy/ installs, and what the operator makes, is taken by a real API server under its strictest rules."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.builders.manifests import a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.pods import PodPlayer
from tests.integration.conftest import DEPLOY
from tests.integration.jobs import Jobs

RESTRICTED = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}


def test_the_manifests_are_accepted_as_they_stand(control_plane: ControlPlane, operator_account: Path) -> None:
    said = control_plane.kubectl("apply", "-k", str(DEPLOY), "--dry-run=server", "--validate=strict")
    kinds = {line.split("/")[0] for line in said.splitlines()}
    assert {"deployment.apps", "poddisruptionbudget.policy"} <= kinds
    assert "clusterrole.rbac.authorization.k8s.io" in kinds


def test_the_operators_pod_meets_the_restricted_standard(
    api: client.ApiClient, control_plane: ControlPlane, namespace: str
) -> None:
    client.CoreV1Api(api).patch_namespace(namespace, RESTRICTED)
    deployment = yaml.safe_load((DEPLOY / "deployment.yaml").read_text())
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}}
    pod["spec"] = {**deployment["spec"]["template"]["spec"], "serviceAccountName": "default"}
    said = control_plane.kubectl("apply", "-n", namespace, "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(pod))
    assert "created" in said


@pytest.mark.usefixtures("operator")
def test_the_trainers_pods_meet_the_restricted_standard(
    api: client.ApiClient, jobs: Jobs, pods: PodPlayer, namespace: str
) -> None:
    client.CoreV1Api(api).patch_namespace(namespace, RESTRICTED)
    jobs.apply(a_manifest())
    pods.wait(job="python-coder-1")

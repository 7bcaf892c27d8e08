"""What the operator makes for an attempt, compared with manifests that a person has looked at (golden/)."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_api.trainer_contract import TrainerConfig
from finetune_api.v1alpha1.defaults import PlatformDefaults, resolve
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_operator.builders.attempt import Attempt, documents
from finetune_operator.errors import ConfigurationTooLargeError
from finetune_operator.settings import Settings
from tests.builders.manifests import JobManifest, a_manifest

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = Settings(platform=PlatformDefaults(storage_size="20Gi"))

TWO_NODES = (
    a_manifest()
    .on_nodes(2)
    .with_spec(
        model={"hub": {"id": "org/model", "tokenSecret": {"name": "hub", "key": "token"}}},
        storage={"size": "5Gi", "storageClassName": "fast", "retain": False},
        compute={"nodes": 2, "gpusPerNode": 4, "sharedMemory": "8Gi", "extraResources": {"rdma/hca": "1"}},
        checkpoint={"gracePeriodSeconds": 120},
        podTemplate={
            "labels": {"team": "nlp", "scheduling.x-k8s.io/pod-group": "g"},
            "annotations": {"scheduling.k8s.io/group-name": "g"},
            "schedulerName": "volcano",
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "priorityClassName": "training",
            "securityContext": {"runAsUser": 1234, "fsGroup": 1234},
            "env": [{"name": "NCCL_DEBUG", "value": "WARN"}],
        },
    )
)
WITH_CONFIG_MAP = a_manifest().with_spec(
    dataset={
        "sources": [
            {"configMap": {"name": "rows", "key": "train.jsonl"}},
            {"claim": {"name": "results", "path": "old"}},
        ],
        "chatTemplate": {"configMap": {"name": "templates", "key": "chat.jinja"}},
    }
)


def an_attempt(manifest: JobManifest, **fields: Any) -> Attempt:
    spec = FineTuneJobSpec.model_validate(manifest.document["spec"])
    base = {"name": manifest.name, "namespace": "team", "uid": "u-1", "number": 1, "image": "trainer:1"}
    return Attempt(**{**base, "spec": resolve(spec, SETTINGS.platform).spec, **fields})


def made(manifest: JobManifest, **fields: Any) -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in documents(an_attempt(manifest, **fields), SETTINGS)}


def container(manifest: JobManifest, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = made(manifest, **fields)["Job"]["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize(
    ("name", "manifest"),
    [("one-node", a_manifest()), ("two-nodes", TWO_NODES), ("config-map", WITH_CONFIG_MAP)],
)
def test_the_documents_are_as_they_were_looked_at(name: str, manifest: JobManifest) -> None:
    """To accept a change: delete the file, run the test twice, and look at the difference."""
    built = documents(an_attempt(manifest), SETTINGS)
    for document in built:
        if document["kind"] == "Job":
            environment = document["spec"]["template"]["spec"]["containers"][0]["env"]
            environment[0]["value"] = "(the configuration)"
    path = GOLDEN / f"{name}.yaml"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump_all(built, sort_keys=False))
        pytest.fail(f"{path.name} was not there and is written now: look at it")
    assert list(yaml.safe_load_all(path.read_text())) == built


def test_the_configuration_says_where_things_are() -> None:
    config = TrainerConfig.decode(container(WITH_CONFIG_MAP)["env"][0]["value"])
    mounts = {mount["mountPath"]: mount for mount in container(WITH_CONFIG_MAP)["volumeMounts"]}
    assert mounts[config.mounts.output]["subPath"] == "python-coder"
    for path in [*config.mounts.claims.values(), *config.mounts.config_maps.values()]:
        assert mounts[path]["readOnly"]
    assert set(config.mounts.claims) == {"models", "results"}
    assert set(config.mounts.config_maps) == {"rows", "templates"}


def test_the_world_follows_the_nodes_and_devices() -> None:
    world = TrainerConfig.decode(container(TWO_NODES)["env"][0]["value"]).world
    assert (world.nodes, world.processes_per_node, world.device) == (2, 4, "CUDA")
    assert TrainerConfig.decode(container(a_manifest())["env"][0]["value"]).world.device == "CPU"


def test_the_fingerprint_does_not_change_with_the_attempt_or_the_nodes() -> None:
    first, second = (
        TrainerConfig.decode(container(job, number=number)["env"][0]["value"])
        for job, number in ((a_manifest(), 1), (a_manifest().on_nodes(2), 2))
    )
    assert first.fingerprint == second.fingerprint


def test_kueues_labels_reach_the_job_alone() -> None:
    job = made(a_manifest(), labels={"kueue.x-k8s.io/queue-name": "team", "other": "x"})["Job"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert "other" not in job["metadata"]["labels"]
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]


def test_kueues_topology_reaches_the_pods() -> None:
    topology = {"kueue.x-k8s.io/podset-slice-required-topology": "rack", "kueue.x-k8s.io/podset-slice-size": "2"}
    template = made(a_manifest(), annotations=topology)["Job"]["spec"]["template"]
    assert template["metadata"]["annotations"] == topology


OWN_PODS = {"matchLabels": {"finetune.dev/job": "python-coder", "finetune.dev/attempt": "1"}}


def placed(manifest: JobManifest, **overlay: Any) -> dict[str, Any]:
    """The pod's spec of a manifest with this overlay."""
    pod: dict[str, Any] = made(manifest.with_spec(podTemplate=overlay or None))["Job"]["spec"]["template"]["spec"]
    return pod


def test_the_pods_of_several_nodes_are_kept_apart() -> None:
    (constraint,) = placed(a_manifest().on_nodes(2))["topologySpreadConstraints"]
    assert constraint["topologyKey"] == "kubernetes.io/hostname"
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    assert constraint["labelSelector"] == OWN_PODS


def test_one_node_has_nothing_to_spread() -> None:
    assert "topologySpreadConstraints" not in placed(a_manifest())


def test_a_user_who_says_where_pods_go_is_not_contradicted() -> None:
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}
    assert "topologySpreadConstraints" not in placed(a_manifest().on_nodes(2), affinity=affinity)


def test_constraints_of_the_users_own_count_the_attempts_pods_unless_they_name_others() -> None:
    by_zone = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    others = {**by_zone, "labelSelector": {"matchLabels": {"team": "nlp"}}}
    spread = placed(a_manifest().on_nodes(2), topologySpreadConstraints=[by_zone, others])["topologySpreadConstraints"]
    assert [constraint["labelSelector"] for constraint in spread] == [OWN_PODS, others["labelSelector"]]


@pytest.mark.parametrize(
    ("labels", "annotations", "scheduler"),
    [
        ({}, {"scheduling.k8s.io/group-name": "gang"}, "volcano"),
        ({"scheduling.x-k8s.io/pod-group": "gang"}, {}, "scheduler-plugins-scheduler"),
    ],
    ids=["Volcano", "scheduler-plugins"],
)
def test_a_pod_group_and_its_scheduler_reach_every_pod(
    labels: dict[str, str], annotations: dict[str, str], scheduler: str
) -> None:
    overlay = {"schedulerName": scheduler, "priorityClassName": "training"}
    overlay |= {"labels": labels} if labels else {"annotations": annotations}
    template = made(a_manifest().on_nodes(2).with_spec(podTemplate=overlay))["Job"]["spec"]["template"]
    assert labels.items() <= template["metadata"]["labels"].items()
    assert annotations.items() <= template["metadata"].get("annotations", {}).items()
    assert (template["spec"]["schedulerName"], template["spec"]["priorityClassName"]) == (scheduler, "training")


def test_a_configuration_that_no_pod_can_carry_is_refused() -> None:
    sources = [{"claim": {"name": "d", "path": f"{number}/{'x' * 1000}"}} for number in range(16)]
    many = {"sources": sources, "validation": {"sources": sources}, "test": {"sources": sources}}
    prompts = {"generation": {"prompts": ["x" * 4000] * 20}}
    with pytest.raises(ConfigurationTooLargeError, match="ConfigMap"):
        documents(an_attempt(a_manifest().with_spec(dataset=many, evaluation=prompts)), SETTINGS)


def test_only_jobs_that_need_the_internet_may_reach_it() -> None:
    def ports(manifest: JobManifest) -> set[int]:
        egress = made(manifest)["NetworkPolicy"]["spec"]["egress"]
        return {port["port"] for rule in egress for port in rule.get("ports", ())}

    assert ports(a_manifest()) == {53}
    assert ports(TWO_NODES) == {53, 443}


def test_the_trainer_gets_no_secret_that_is_not_named() -> None:
    names = [variable["name"] for variable in container(a_manifest())["env"]]
    assert "HF_TOKEN" not in names
    token = next(variable for variable in container(TWO_NODES)["env"] if variable["name"] == "HF_TOKEN")
    assert token["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}

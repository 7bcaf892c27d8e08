"""The CRD on the real API server, newest and oldest: it gives the same verdict as the models, and says what to mend."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from kubernetes import client, config

from finetune_api.v1alpha1.rules.catalogue import all_change_rules
from finetune_api.v1alpha1.validation import parse_job, validate, validate_change
from finetune_cli import manifest
from finetune_cli.writing import to_yaml
from tests.cluster.control_plane import ControlPlane
from tests.integration.crd_server import Server
from tests.unit.api.examples import EXAMPLES, RIGHT_NAMES, WRONG_NAMES, a_job, named
from tests.unit.api.generation import arbitrary_jobs, broken_jobs, valid_jobs

ROOT = Path(__file__).parents[2]
CONTRACT = sorted((ROOT / "tests" / "contract").glob("*.yaml"))
Document = dict[str, Any]

generated = settings(
    max_examples=60,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")  # and not longer: a control plane that nobody asks for costs a tenth of a core
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    directory = tmp_path_factory.mktemp("oldest")
    with ControlPlane.start(directory, kubernetes="oldest", crds=ROOT / "crds") as plane:
        yield plane


@pytest.fixture(scope="module", params=["newest", "oldest"])
def plane(request: pytest.FixtureRequest) -> ControlPlane:
    found: ControlPlane = request.getfixturevalue({"newest": "control_plane"}.get(request.param, request.param))
    return found


@pytest.fixture(scope="module")
def server(plane: ControlPlane) -> Iterator[Server]:
    with config.new_client_from_config(str(plane.kubeconfig)) as api:
        yield Server(client.VersionApi(api).get_code().git_version, api)


def verdict_is_the_same(server: Server, document: Document) -> bool:
    """Whether server and models say the same; returns that verdict."""
    problems, answer = validate(document), server.try_out(document)
    assert answer.code in (200, 201, 400, 422), answer.message
    assert answer.accepted == (problems == []), f"{document['spec']}\nserver: {answer.message}\nmodels: {problems}"
    return answer.accepted


@pytest.mark.parametrize("file", CONTRACT, ids=lambda file: file.stem)
def test_every_contract_manifest_is_applied_by_kubectl(plane: ControlPlane, file: Path) -> None:
    documents = len(manifest.read(str(file)))
    applied = plane.kubectl("apply", "--dry-run=server", "-f", str(file))
    assert applied.count("created (server dry run)") == documents


def test_what_the_cli_writes_is_applied_by_kubectl(plane: ControlPlane, tmp_path: Path) -> None:
    awkward = a_job(**{"model": {"hub": {"id": "N"}}, "compute": {"cpu": "8"}, "dataset.systemMessage": "2e-4"})
    (tmp_path / "job.yaml").write_text(to_yaml(parse_job(awkward).dump()))
    applied = plane.kubectl("apply", "--dry-run=server", "-f", str(tmp_path / "job.yaml"))
    assert "created (server dry run)" in applied


def test_every_example_of_a_rule_gets_the_same_verdict_and_the_same_message(server: Server) -> None:
    for example in EXAMPLES:
        assert verdict_is_the_same(server, example.accepted), example.said
        assert not verdict_is_the_same(server, example.refused), example.said
        assert example.said in server.try_out(example.refused).message


def test_names_get_the_same_verdict(server: Server) -> None:
    assert all(verdict_is_the_same(server, named(name)) for name in RIGHT_NAMES)
    assert not any(verdict_is_the_same(server, named(name)) for name in WRONG_NAMES)
    assert "llama-3-2, not llama-3.2" in server.try_out(named("llama-3.2")).message


@generated
@given(valid_jobs())
def test_generated_jobs_are_accepted(server: Server, document: Document) -> None:
    assert verdict_is_the_same(server, document)


@generated
@given(broken_jobs())
def test_broken_jobs_are_refused(server: Server, broken: tuple[str, Document]) -> None:
    assert not verdict_is_the_same(server, broken[1]), broken[0]


@generated
@given(arbitrary_jobs())
def test_jobs_with_contradictions_get_the_same_verdict(server: Server, document: Document) -> None:
    verdict_is_the_same(server, document)


@pytest.mark.parametrize(
    "change",
    [
        {"tuning": None},
        {"tuning": {"rank": None, "type": "LoRA"}},
        {"hyperparameters.maxSteps": 3.0},
        {"hyperparameters.maxSteps": 3.5},
        {"hyperparameters.maxSteps": 1e30},
        {"hyperparameters.maxSteps": "3"},
        {"hyperparameters.maxSteps": True},
        {"hyperparameters.learningRate": "2e-4"},
        {"hyperparameters.learningRate": 1},
        {"hyperparameters.learningRate": True},
        {"hyperparameters.learning_rate": 0.1},
        {"model": None},
        {"dataset.sources": [None]},
        {"dataset.columns": {"text": None}},
        {"compute.cpu": 8},
        {"podTemplate.labels": {"team": None}},
        {"podTemplate.affinity": {"nodeAffinity": {"required": {}}}},
    ],
    ids=str,
)
def test_nulls_and_numbers_are_read_alike(server: Server, change: dict[str, Any]) -> None:
    verdict_is_the_same(server, a_job(**change))


@pytest.mark.parametrize(
    "metadata",
    [
        {"lables": {"a": "b"}},
        {"labels": {"example.com/team": "nlp"}},
        {"labels": {"no spaces": "nlp"}},
        {"labels": {"team": "no spaces"}},
        {"labels": {"team": 3}},
        {"annotations": {"note": "any text: at all"}},
        {"annotations": {"no spaces": "x"}},
        {"labels": None, "finalizers": ["example.com/keep"]},
    ],
    ids=str,
)
def test_metadata_is_read_alike(server: Server, metadata: dict[str, Any]) -> None:
    verdict_is_the_same(server, {**a_job(), "metadata": {"name": "generated", **metadata}})


def test_a_generated_name_is_judged_alike(server: Server) -> None:
    assert verdict_is_the_same(server, {**a_job(), "metadata": {"generateName": "run-"}})
    assert not verdict_is_the_same(server, {**a_job(), "metadata": {"generateName": "9-"}})
    assert not verdict_is_the_same(server, {**a_job(), "metadata": {"generateName": "a" * 50}})
    assert not verdict_is_the_same(server, {**a_job(), "metadata": {}})


@pytest.fixture
def stored(server: Server) -> Iterator[Document]:
    """A job that exists, with every field of compute and the first fields of the rest."""
    answer = server.create({**a_job(compute={"nodes": 1, "image": "a"}), "metadata": {"name": "stored"}})
    assert answer.accepted, answer.message
    yield answer.body
    server.delete("stored")


CHANGES: list[tuple[str, Any, str]] = [
    ("suspend", True, "always"),
    ("activeDeadlineSeconds", 60, "always"),
    ("ttlSecondsAfterFinished", 60, "always"),
    ("retryPolicy", {"maxRetries": 1}, "always"),
    ("notifications", [{"channel": "a", "on": ["Failed"]}], "always"),
    ("cancel", True, "always"),
    ("compute.nodes", 2, "suspended"),
    ("compute.cpu", "4", "suspended"),
    ("compute.memory", "8Gi", "suspended"),
    ("podTemplate", {"nodeSelector": {"pool": "gpu"}}, "suspended"),
    ("compute.image", "b", "never"),
    ("compute.gpusPerNode", 2, "never"),
    ("compute", None, "never"),
    ("model.claim.path", "other", "never"),
    ("dataset.seed", 3, "never"),
    ("method", "ContinuedPretraining", "never"),
    ("tuning", {"rank": 8}, "never"),
    ("hyperparameters", {"maxSteps": 5}, "never"),
    ("evaluation", {"everySteps": 5}, "never"),
    ("checkpoint", {"keep": 3}, "never"),
    ("storage", {"size": "1Gi"}, "never"),
    ("output", {"mergeAdapter": True}, "never"),
    ("tracking", {"tensorBoard": False}, "never"),
    ("script", {"configMap": {"name": "a", "key": "b"}}, "never"),
]


@pytest.mark.parametrize("phase", ["Running", "Suspended"])
def test_a_job_that_exists_can_be_changed_where_that_has_a_meaning(
    server: Server, stored: Document, phase: str
) -> None:
    held = server.put_status("stored", {**stored, "status": {"phase": phase}}).body
    for path, value, when in CHANGES:
        new = _changed(held, path, value)
        allowed = when == "always" or (when == "suspended" and phase == "Suspended")
        answer = server.replace("stored", new)
        assert answer.accepted == allowed, f"{path}: {answer.message}"
        assert (validate_change(held, new) == []) == allowed, path
        if not allowed:
            assert path.split(".")[0] in answer.message
            assert "cannot be changed" in answer.message or "only while the job is Suspended" in answer.message


def test_every_field_that_was_changed_is_named_with_the_mend(server: Server, stored: Document) -> None:
    changed = _changed(_changed(_changed(stored, "dataset.seed", 3), "method", "ContinuedPretraining"), "suspend", True)
    answer = server.replace("stored", changed)
    mend = "delete the job and apply it under this or another name"
    assert f"dataset cannot be changed: {mend}. method cannot be changed: {mend}." in answer.message
    assert "suspend cannot" not in answer.message


def test_a_spec_is_judged_whatever_phase_is_sent_with_it(server: Server, stored: Document) -> None:
    sent = {**_changed(stored, "method", "ContinuedPretraining"), "status": {"phase": "Running"}}
    assert "method cannot be changed" in server.replace("stored", sent).message
    wrong = _changed(stored, "retryPolicy", {"backoffSeconds": 9, "maxBackoffSeconds": 3})
    assert "maxBackoffSeconds" in server.replace("stored", {**wrong, "status": {"phase": "Running"}}).message
    kept = server.put_status("stored", sent).body
    assert (kept["spec"], kept["status"]) == (stored["spec"], {"phase": "Running"})


def test_a_cancelled_job_stays_cancelled(server: Server) -> None:
    held = server.create({**a_job(cancel=True), "metadata": {"name": "cancelled"}}).body
    for value in (False, None):
        new = _changed(held, "cancel", value)
        answer = server.replace("cancelled", new)
        assert not answer.accepted
        assert "cancel cannot be taken back" in answer.message
        assert validate_change(held, new) != []
    server.delete("cancelled")


def test_every_field_of_the_spec_has_its_rule_for_changes() -> None:
    tried = {path.split(".")[0] for path, _, when in CHANGES if when != "always"}
    ruled = {rule.field.split(".")[0] for rule in all_change_rules()} - {"cancel"}
    assert ruled - tried == {"preference", "reinforcement"}, "both cannot be added to a job of another method"


def test_the_status_of_a_newer_operator_is_not_refused(server: Server, stored: Document) -> None:
    condition = {
        "type": "Unheard",
        "status": "True",
        "reason": "New",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"phase": "Hibernating", "conditions": [condition], "failure": {"reason": "Unheard"}}
    answer = server.put_status("stored", {**stored, "status": status})
    assert answer.accepted, answer.message
    assert parse_job(answer.body).status is not None


def test_columns_show_a_job_at_a_glance(plane: ControlPlane, server: Server, stored: Document) -> None:
    status = {
        "phase": "Running",
        "progress": {"summary": "30% (120/400)", "loss": 1.21, "eta": "51m"},
        "restarts": {"total": 1},
        "effective": {"method": "SFT", "model": "org/model", "gpus": 8},
    }
    answer = server.put_status("stored", {**stored, "status": status})
    assert answer.accepted, answer.message
    short = plane.kubectl("get", "ftj", "stored", "-n", "default").splitlines()
    assert short[0].split() == ["NAME", "PHASE", "PROGRESS", "LOSS", "ETA", "RESTARTS", "AGE"]
    assert short[1].split()[:7] == ["stored", "Running", "30%", "(120/400)", "1.21", "51m", "1"]
    wide = plane.kubectl("get", "ftj", "stored", "-n", "default", "-o", "wide").splitlines()
    assert wide[0].split()[-4:] == ["METHOD", "MODEL", "GPUS", "QUEUE"]
    assert "finetunejob.finetune.dev/stored" in plane.kubectl("get", "all", "-n", "default")


def test_the_queue_of_a_job_has_a_column(plane: ControlPlane, server: Server) -> None:
    metadata = {"name": "queued", "labels": {"kueue.x-k8s.io/queue-name": "team-a"}}
    server.create({**a_job(), "metadata": metadata})
    assert plane.kubectl("get", "ftj", "queued", "-n", "default", "-o", "wide").split()[-1] == "team-a"
    server.delete("queued")


def _changed(document: Document, path: str, value: Any) -> Document:
    """A copy with a field of the spec set, or taken out with None."""
    new = copy.deepcopy(document)
    *way, last = path.split(".")
    holder = new["spec"]
    for step in way:
        holder = holder.setdefault(step, {})
    if value is None:
        holder.pop(last, None)
    else:
        holder[last] = value
    return new

"""A job that begins with what another one has produced: waiting, what is in the way, and what its pods then mount."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from finetune_api.trainer_contract import TrainerConfig
from finetune_api.v1alpha1.defaults import PlatformDefaults
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import FineTuneJobStatus, JobStatus
from finetune_operator.cache import Cache
from finetune_operator.conditions import find
from finetune_operator.decide import decide
from finetune_operator.errors import NotFoundError
from finetune_operator.kube.protocol import FINE_TUNE_JOB, Document, Kind
from finetune_operator.observation import Obstacle
from finetune_operator.predecessors import Predecessors
from finetune_operator.settings import Settings
from tests.builders.manifests import JobManifest, a_manifest
from tests.builders.observations import NOW, JobSeen, a_job

SETTINGS = Settings()
EARLIER = a_manifest().named("earlier").with_spec(storage={"size": "1Gi"})
BRANCH = {"from": {"job": {"name": "earlier"}, "step": 400}}
FIRST = JobStatus(
    name="earlier", claim="earlier-data", path="earlier/aa", digest="d1", adapter=True, model="models/tiny-llama",
    claims=["models"],
)  # fmt: skip


def a_document(manifest: JobManifest, phase: str, **status: Any) -> Document:
    metadata = {**manifest.document["metadata"], "namespace": "team", "uid": f"uid-{manifest.name}"}
    return {**manifest.document, "metadata": {**metadata, "resourceVersion": "1"}, "status": {"phase": phase, **status}}


def succeeded(manifest: JobManifest, fingerprint: str = "aa", digest: str = "d1", **effective: Any) -> Document:
    output = {"claim": f"{manifest.name}-data", "path": f"{manifest.name}/{fingerprint}/output", "adapter": True}
    model = {"model": "models/tiny-llama", **effective}
    return a_document(manifest, "Succeeded", output={**output, "digest": digest}, effective=model)


class Server:
    """An API server that has these jobs; counts who asks it."""

    def __init__(self, *documents: Document) -> None:
        self.documents = {document["metadata"]["name"]: document for document in documents}
        self.asked: list[str] = []

    async def get(self, kind: Kind, namespace: str, name: str) -> Document:
        self.asked.append(name)
        if name not in self.documents:
            raise NotFoundError(f"there is no {kind.name} {name}", 404)
        return self.documents[name]


class Namespace:
    """What the operator knows of a namespace with these jobs."""

    def __init__(self, *documents: Document, watched: bool = True) -> None:
        self.server = Server(*documents)
        self.cache = Cache()
        if watched:
            for document in documents:
                self.cache.take(FINE_TUNE_JOB, "ADDED", document)
        platform = PlatformDefaults(storage_size="1Gi")
        self.predecessors = Predecessors(self.server, self.cache, platform)  # type: ignore[arg-type]  # get alone is used

    async def found(self, name: str = "python-coder", **spec: Any) -> tuple[JobStatus, ...] | Obstacle:
        manifest = a_manifest().with_spec(**(spec or {"model": {"job": {"name": "earlier"}}}))
        wanted = FineTuneJobSpec.model_validate(manifest.document["spec"])
        return await self.predecessors.find(("team", name), wanted)

    async def obstacle(self, name: str = "python-coder", **spec: Any) -> Obstacle:
        found = await self.found(name, **spec)
        assert isinstance(found, Obstacle)
        return found


async def test_a_job_that_is_not_there_is_named() -> None:
    obstacle = await Namespace().obstacle()
    assert (obstacle.reason, obstacle.waiting) == ("JobNotFound", False)
    assert obstacle.message.startswith("spec.model.job: there is no FineTuneJob earlier in team")


@pytest.mark.parametrize("phase", ["Pending", "Running", "Suspended", "Retrying"])
async def test_a_job_that_is_not_done_is_waited_for_without_a_request(phase: str) -> None:
    namespace = Namespace(a_document(EARLIER, phase))
    obstacle = await namespace.obstacle()
    assert (obstacle.reason, obstacle.waiting) == ("WaitingForJob", True)
    assert phase in obstacle.message
    assert namespace.server.asked == []


async def test_who_waits_looks_again_when_the_job_changes() -> None:
    namespace = Namespace(a_document(EARLIER, "Running"))
    await namespace.obstacle()
    assert namespace.predecessors.released_by(("team", "earlier")) == {("team", "python-coder")}
    assert namespace.predecessors.released_by(("team", "another")) == frozenset()


async def test_nothing_is_remembered_of_who_has_begun() -> None:
    namespace = Namespace(succeeded(EARLIER))
    await namespace.found()
    assert namespace.predecessors._waiting == {}


async def test_a_job_that_the_watch_has_not_shown_is_asked_for() -> None:
    assert await Namespace(succeeded(EARLIER), watched=False).found() == (FIRST,)


@pytest.mark.parametrize("phase", ["Failed", "Cancelled"])
async def test_a_job_that_ended_otherwise_is_said_with_its_reason_and_the_mend(phase: str) -> None:
    failure = {"reason": "UserError", "message": "train.jsonl:61: no JSON"}
    obstacle = await Namespace(a_document(EARLIER, phase, failure=failure)).obstacle()
    assert (obstacle.reason, obstacle.waiting) == ("JobNotSucceeded", False)
    for said in (phase, "UserError", "train.jsonl:61", "create it again"):
        assert said in obstacle.message


async def test_an_adapter_brings_the_claim_of_its_base_along() -> None:
    namespace = Namespace(succeeded(EARLIER))
    assert await namespace.found() == (FIRST,)
    assert namespace.server.asked == ["earlier"], "what is begun with is asked for, not taken from a cache"


async def test_an_adapter_on_the_hub_brings_its_token_along() -> None:
    hub = {"hub": {"id": "org/model", "tokenSecret": {"name": "hub", "key": "token"}}}
    (found,) = await Namespace(succeeded(EARLIER.with_spec(model=hub))).found()  # type: ignore[misc]  # no obstacle
    assert (found.hub, found.claims) == (True, None)
    assert found.token_secret is not None
    assert found.token_secret.dump() == {"name": "hub", "key": "token"}


async def test_a_chain_brings_every_adapter_along_although_the_first_job_is_gone() -> None:
    second = EARLIER.named("second").with_spec(model={"job": {"name": "earlier"}})
    document = succeeded(second, "bb", "d2", model="job earlier on models/tiny-llama", jobs=[FIRST.dump()])
    nearest, lowest = await Namespace(document).found(model={"job": {"name": "second"}})  # type: ignore[misc]  # no obstacle
    assert [(job.name, job.digest) for job in (nearest, lowest)] == [("second", "d2"), ("earlier", "d1")]


async def test_a_whole_model_needs_nothing_of_what_it_was_made_from() -> None:
    document = succeeded(EARLIER, jobs=[FIRST.model_copy(update={"name": "older"}).dump()])
    document["status"]["output"]["adapter"] = False
    (found,) = await Namespace(document).found()  # type: ignore[misc]  # no obstacle
    assert (found.adapter, found.claims) == (False, None)


async def test_jobs_that_wait_for_one_another_are_told_so() -> None:
    waiting = [
        a_document(a_manifest().named(name).with_spec(model={"job": {"name": other}}), "Pending")
        for name, other in (("a", "b"), ("b", "c"), ("c", "a"))
    ]
    obstacle = await Namespace(*waiting).obstacle("a", model={"job": {"name": "b"}})
    assert (obstacle.reason, obstacle.waiting) == ("JobCycle", False)
    assert "a for b, b for c, c for a" in obstacle.message


async def test_a_job_and_its_branch_that_wait_for_one_another_are_told_so() -> None:
    branch = a_document(a_manifest().named("branch").with_spec(checkpoint=BRANCH), "Pending")
    earlier = a_document(EARLIER.with_spec(model={"job": {"name": "branch"}}), "Pending")
    obstacle = await Namespace(branch, earlier).obstacle("branch", checkpoint=BRANCH)
    assert obstacle.reason == "JobCycle"
    assert "branch for earlier, earlier for branch" in obstacle.message


async def test_a_job_that_has_begun_waits_for_nobody_any_more() -> None:
    begun = {"jobs": [FIRST.model_copy(update={"name": "branch"}).dump()]}
    earlier = a_document(EARLIER.with_spec(model={"job": {"name": "branch"}}), "Running", effective=begun)
    obstacle = await Namespace(earlier).obstacle("branch", checkpoint=BRANCH)
    assert (obstacle.reason, obstacle.waiting) == ("WaitingForJob", True)


async def test_a_name_that_stands_in_its_own_lineage_is_refused() -> None:
    second = EARLIER.named("second").with_spec(model={"job": {"name": "earlier"}})
    document = succeeded(second, "bb", "d2", jobs=[FIRST.dump()])
    obstacle = await Namespace(document).obstacle("earlier", model={"job": {"name": "second"}})
    assert obstacle.reason == "JobCycle"


async def test_a_checkpoint_is_waited_for_while_it_may_still_come() -> None:
    running = a_document(EARLIER, "Running", checkpoint={"latest": {"step": 200}})
    obstacle = await Namespace(running).obstacle(checkpoint=BRANCH)
    assert (obstacle.reason, obstacle.waiting) == ("WaitingForJob", True)
    assert "step 400" in obstacle.message
    assert "its newest is of step 200" in obstacle.message


async def test_a_checkpoint_that_will_never_come_is_said() -> None:
    failed = a_document(EARLIER, "Failed", checkpoint={"latest": {"step": 200}})
    obstacle = await Namespace(failed).obstacle(checkpoint=BRANCH)
    assert (obstacle.reason, obstacle.waiting) == ("CheckpointNotFound", False)


@pytest.mark.parametrize("phase", ["Running", "Suspended", "Failed", "Succeeded"])
async def test_a_branch_begins_with_the_results_of_a_job_in_any_phase(phase: str) -> None:
    document = a_document(
        EARLIER, phase, checkpoint={"latest": {"step": 400}}, effective={"results": "earlier/0123456789abcdef"}
    )
    found = await Namespace(document).found(checkpoint=BRANCH)
    assert found == (JobStatus(name="earlier", claim="earlier-data", path="earlier/0123456789abcdef"),)


def chained() -> JobSeen:
    return a_job().with_spec(model={"job": {"name": "earlier"}}, storage={"size": "1Gi"})


def config_of(job: JobSeen) -> tuple[TrainerConfig, dict[str, Any]]:
    decision = decide(job.build(), SETTINGS, NOW)
    (child,) = [document for document in decision.create if document["kind"] == "Job"]
    pod = child["spec"]["template"]["spec"]
    return TrainerConfig.decode(pod["containers"][0]["env"][0]["value"]), pod


def beginning_with(*jobs: JobStatus) -> JobSeen:
    """The job with what it begins with written down."""
    status = FineTuneJobStatus.model_validate({"effective": {"jobs": [job.dump() for job in jobs]}})
    return chained().with_(jobs=jobs, status=status)


def test_a_waiting_job_stays_accepted_and_says_what_it_waits_for() -> None:
    waiting = chained().with_(obstacle=Obstacle("WaitingForJob", "waits for job earlier to succeed", waiting=True))
    decision = decide(waiting.build(), SETTINGS, NOW)
    assert decision.status is not None
    assert decision.status.phase == "Pending"
    conditions = decision.status.conditions
    accepted, running = find(conditions, "Accepted"), find(conditions, "Running")
    assert accepted is not None
    assert accepted.status == "True"
    assert running is not None
    assert (running.status, running.reason) == ("False", "WaitingForJob")
    assert find(conditions, "Stalled") is None
    assert [(note.type, note.reason) for note in decision.notes] == [("Normal", "WaitingForJob")]
    assert decision.again_after is not None
    again = decide(waiting.with_(status=decision.status).build(), SETTINGS, NOW + timedelta(hours=1))
    assert (again.status, again.notes) == (None, ())
    assert again.again_after == 300.0


def test_a_job_that_was_refused_and_now_waits_is_not_stalled_any_more() -> None:
    refused = decide(chained().blocked_by("JobNotFound").build(), SETTINGS, NOW).status
    assert refused is not None
    waiting = chained().with_(status=refused, obstacle=Obstacle("WaitingForJob", "waits", waiting=True))
    status = decide(waiting.build(), SETTINGS, NOW).status
    assert status is not None
    shown = {condition.type: condition.status for condition in status.conditions or ()}
    assert (shown["Accepted"], shown["Stalled"], shown["Reconciling"]) == ("True", "False", "True")


@pytest.mark.parametrize(("flag", "phase"), [("suspend", "Suspended"), ("cancel", "Cancelled")])
def test_a_waiting_job_can_be_paused_and_cancelled(flag: str, phase: str) -> None:
    waiting = chained().with_(obstacle=Obstacle("WaitingForJob", "waits", waiting=True)).with_spec(**{flag: True})
    status = decide(waiting.build(), SETTINGS, NOW).status
    assert status is not None
    assert status.phase == phase


def test_what_it_begins_with_is_written_down_before_anything_is_made() -> None:
    decision = decide(chained().with_(jobs=(FIRST,)).build(), SETTINGS, NOW)
    assert decision.create == ()
    assert decision.status is not None
    assert decision.status.effective is not None
    assert decision.status.effective.jobs == [FIRST]


def test_the_pods_mount_the_results_and_the_base_read_only() -> None:
    config, pod = config_of(beginning_with(FIRST))
    assert config.digests == {"earlier": "d1"}
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    results = mounts[config.mounts.jobs["earlier"]]
    assert (results["subPath"], results["readOnly"]) == ("earlier/aa", True)
    assert volumes[results["name"]]["persistentVolumeClaim"] == {"claimName": "earlier-data", "readOnly": True}
    base = mounts[config.mounts.claims["models"]]
    assert base["readOnly"]
    assert volumes[base["name"]]["persistentVolumeClaim"]["claimName"] == "models"


def test_results_on_the_jobs_own_claim_are_mounted_from_the_same_volume() -> None:
    shared = FIRST.model_copy(update={"claim": "results"})
    config, pod = config_of(beginning_with(shared).with_spec(storage={"claim": {"name": "results"}}))
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    own, other = mounts[config.mounts.output], mounts[config.mounts.jobs["earlier"]]
    assert own["name"] == other["name"]
    assert (own.get("readOnly"), other["readOnly"]) == (None, True)


def test_another_result_of_the_same_job_is_another_model_to_learn_from() -> None:
    first, again = (config_of(beginning_with(FIRST.model_copy(update={"digest": d})))[0] for d in ("d1", "d2"))
    assert first.fingerprint != again.fingerprint


def test_a_base_from_the_hub_opens_the_way_there_and_brings_its_token() -> None:
    on_hub = JobStatus.model_validate({
        "name": "earlier", "claim": "earlier-data", "path": "earlier/aa", "digest": "d1", "adapter": True, "hub": True,
        "tokenSecret": {"name": "hub", "key": "token"},
    })  # fmt: skip
    decision = decide(beginning_with(on_hub).build(), SETTINGS, NOW)
    by_kind = {document["kind"]: document for document in decision.create}
    ports = [port["port"] for rule in by_kind["NetworkPolicy"]["spec"]["egress"] for port in rule.get("ports", ())]
    assert 443 in ports
    environment = by_kind["Job"]["spec"]["template"]["spec"]["containers"][0]["env"]
    (token,) = [variable for variable in environment if variable["name"] == "HF_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}


def test_the_lineage_and_the_directory_are_shown() -> None:
    job = beginning_with(FIRST)
    child = a_job().starting(since=60).build().child
    status = decide(job.with_(child=child).build(), SETTINGS, NOW).status
    assert status is not None
    assert status.effective is not None
    assert status.effective.model == "job earlier on models/tiny-llama"
    assert status.effective.results == f"python-coder/{config_of(job)[0].fingerprint}"
    assert status.effective.jobs == [FIRST]

"""onDivergence RewindOnce: one attempt goes back before the divergence, and a second divergence is the end."""

from __future__ import annotations

import pytest

from finetune_api.trainer_contract import TrainerConfig
from finetune_api.v1alpha1.status import CheckpointEntry, CheckpointStatus, EffectiveStatus, HistoryEntry, Restarts
from finetune_operator import recording
from tests.builders.decisions import decided, phase
from tests.builders.observations import JobSeen, a_job, past


def a_rewinding_job() -> JobSeen:
    return a_job().with_spec(retryPolicy={"onDivergence": "RewindOnce", "maxRetries": 0})


def config_of(job: JobSeen) -> TrainerConfig:
    made = decided(job).create[-1]
    (container,) = made["spec"]["template"]["spec"]["containers"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    return TrainerConfig.decode(variables["FINETUNE_CONFIG"])


def test_the_first_divergence_is_followed_by_an_attempt_that_costs_no_retry() -> None:
    decision = decided(a_rewinding_job().running().ended("Diverged", 13, step=57))
    assert phase(decision) == "Retrying"
    assert decision.status is not None
    assert decision.status.restarts == Restarts(total=1, divergences=1)
    assert decision.status.effective is not None
    assert decision.status.effective.diverged_at == 57
    assert decision.status.history is not None
    assert decision.status.history[-1].reason == "Diverged"
    assert any(note.reason == "Rewinding" and "step 57" in note.message for note in decision.notes)
    assert decision.again_after is not None
    assert decision.again_after < 1, "there is nothing to wait for"


def test_every_later_attempt_is_told_where_the_job_diverged() -> None:
    job = a_rewinding_job().with_status(effective=EffectiveStatus(diverged_at=57), restarts=Restarts(divergences=1))
    after_it = job.in_phase("Retrying", 2).with_status(history=[past("Diverged")])
    assert config_of(after_it).diverged_at == 57
    assert config_of(after_it.in_phase("Retrying", 3).with_status(history=[past("Evicted", 2)])).diverged_at == 57
    assert config_of(a_rewinding_job()).diverged_at is None


def test_a_second_divergence_is_the_end_though_history_has_forgotten_the_first() -> None:
    forgotten: list[HistoryEntry] = []
    job = a_rewinding_job().with_status(restarts=Restarts(total=1, divergences=1), history=forgotten).running(2)
    decision = decided(job.ended("Diverged", 13, step=60, advice="Lower hyperparameters.learningRate."))
    assert phase(decision) == "Failed"
    assert decision.status is not None
    assert decision.status.failure is not None
    assert decision.status.failure.reason == "Diverged"
    assert decision.status.failure.advice is not None
    assert "once already" in decision.status.failure.advice
    assert "Lower hyperparameters.learningRate" in decision.status.failure.advice


@pytest.mark.parametrize(
    ("shown", "saved", "step"), [(57, 40, 57), (40, 50, 51), (None, None, 1)], ids=["shown", "saved since", "nothing"]
)
def test_without_a_record_it_goes_back_before_what_is_known(shown: int | None, saved: int | None, step: int) -> None:
    job = a_rewinding_job().running()
    status = job.build().status.model_copy(deep=True)
    if shown is not None:
        recording.merge_report(status, job.reporting(step=shown, checkpoint={"latest": {"step": saved}}).build().report)
    ended = job.with_(status=status).ended(None, 13)
    decided_status = decided(ended).status
    assert decided_status is not None
    assert decided_status.effective is not None
    assert decided_status.effective.diverged_at == step


@pytest.mark.parametrize(("saved", "kept"), [(40, 40), (57, None), (60, None)])
def test_a_checkpoint_that_it_goes_back_before_is_not_shown(saved: int, kept: int | None) -> None:
    ended = a_rewinding_job().running().ended("Diverged", 13, step=57, checkpoint={"latest": {"step": saved}})
    status = decided(ended).status
    assert status is not None
    assert recording.checkpoint_step(status) == kept


@pytest.mark.parametrize(("stage", "shown"), [("LoadingModel", 40), ("Training", None)])
def test_an_attempt_that_went_back_to_the_beginning_shows_no_checkpoint(stage: str, shown: int | None) -> None:
    latest = CheckpointStatus(latest=CheckpointEntry(step=40), count=1)
    status = decided(a_rewinding_job().with_status(checkpoint=latest).running(2).reporting(stage=stage)).status
    assert status is not None
    assert recording.checkpoint_step(status) == shown


def test_other_ends_are_counted_as_ever_after_it() -> None:
    job = a_rewinding_job().with_status(restarts=Restarts(total=1, divergences=1)).running(2)
    assert phase(decided(job.ended("InternalError"))) == "Failed", "maxRetries is 0"
    assert phase(decided(job.ended("Interrupted", 14))) == "Retrying"

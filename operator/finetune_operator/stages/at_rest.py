"""No attempt is there: end, stay paused, wait, say what is in the way, or start the next one."""

from __future__ import annotations

from finetune_api.v1alpha1.advice import warnings
from finetune_api.v1alpha1.defaults import Resolution, resolve
from finetune_api.v1alpha1.identity import fingerprint, produced
from finetune_api.v1alpha1.model import Model
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import EffectiveStatus, JobStatus, Restarts

from .. import recording, times
from ..builders.attempt import Attempt, documents
from ..conditions import find, is_true
from ..draft import Draft
from ..errors import ConfigurationTooLargeError
from ..observation import Observation
from ..policies import acceptance, deadline, memory, resizing, retry, starting
from ..settings import Settings
from .ended import fail_deadline, finish, suspend

FIRST_WORDS_PER_SECOND = 20
SHORTEST_SETTLING, LONGEST_SETTLING = 0.25, 30.0
"""Seconds that a job's first words may wait, once its Job is made: pods that run by then save a write of the status.
The time grows with the number of jobs that are begun at once; whatever happens to an attempt is said at once."""
FIRST_LOOK, LONGEST_LOOK = 5.0, 300.0


def rest(draft: Draft, spec: FineTuneJobSpec, settings: Settings) -> None:
    """Decides about a job of which no attempt is there."""
    if spec.cancel:
        finish(draft, "Cancelled", "Cancelled", "cancelled while no attempt ran")
    elif deadline.passed(draft.seen, draft.now):
        fail_deadline(draft)
    elif spec.suspend:
        suspend(draft)
    else:
        due = retry.next_start(draft.seen.status, spec)
        wait = (due - draft.now).total_seconds() if due else 0.0
        if wait > 0:
            _wait_for_backoff(draft, wait)
        else:
            _start(draft, spec, settings)


def _wait_for_backoff(draft: Draft, seconds: float) -> None:
    """The next attempt is not due yet: a pause neither shortens the wait nor hides it."""
    draft.look_again(seconds)
    before = draft.seen.status.phase
    if before in ("Suspended", "Pending"):  # the latter: something else had to be waited for when it was resumed
        message = f"attempt {draft.seen.attempt} waits for its backoff"
        draft.phase("Retrying", "Backoff", message)
        if before == "Suspended":
            draft.normal("Resumed", message)


def adopt(draft: Draft, spec: FineTuneJobSpec, settings: Settings) -> None:
    """The attempt's Job is there and the status does not say so: it was to settle, or the operator ended in between."""
    resolution = resolve(spec, settings.platform)
    _say_started(draft, spec, resolution, _image(draft, resolution, settings))


def settles(seen: Observation) -> bool:
    """Whether a job's first Job was only just made, and nothing is to be said of it yet."""
    if seen.child is None or seen.spec is None or seen.made_ago is None or seen.status.start_time is not None:
        return False
    asked = seen.spec.suspend or seen.spec.cancel
    told = starting.started(seen) or starting.has_young_trouble(seen)
    return seen.made_ago < _settling(seen) and not (asked or told)


def let_settle(draft: Draft) -> None:
    """Leaves the status as it is for a moment."""
    draft.say_nothing()
    draft.look_again(_settling(draft.seen) - (draft.seen.made_ago or 0.0))


def _settling(seen: Observation) -> float:
    return min(max(SHORTEST_SETTLING, seen.made_beside / FIRST_WORDS_PER_SECOND), LONGEST_SETTLING)


def refuse(draft: Draft, reason: str, message: str) -> None:
    """Says why the job does not start; a spec that changes, or what is missing coming, brings it here again."""
    before = find(draft.seen.status.conditions, "Accepted")
    draft.condition("Accepted", False, reason, message)
    draft.condition("Stalled", True, reason, message)
    draft.phase("Pending", reason, message)
    if before is None or before.reason != reason:
        draft.warn(reason, message)


def _start(draft: Draft, spec: FineTuneJobSpec, settings: Settings) -> None:
    seen = draft.seen
    resolution = resolve(spec, settings.platform)
    if seen.made_ago is not None:
        # It was made, and went before that was said. Written down, it ends like any other attempt.
        _say_started(draft, spec, resolution, _image(draft, resolution, settings))
        draft.look_again(0.05)
        return
    refused = (
        acceptance.refusal(spec, resolution, settings)
        or acceptance.in_parts(seen.annotations)
        or resizing.refusal(seen.status, resolution.spec)
    )
    if refused is not None:
        refuse(draft, *refused)
        return
    if seen.obstacle is not None:
        _wait_for(draft)
        return
    if seen.jobs and not (seen.status.effective and seen.status.effective.jobs):
        _begin_with(draft)
        return
    image = _image(draft, resolution, settings)
    attempt = Attempt(
        name=seen.name,
        namespace=seen.namespace,
        uid=seen.uid,
        number=seen.attempt,
        labels=seen.labels,
        annotations=seen.annotations,
        spec=resolution.spec,
        image=image,
        adaptation=memory.current(seen.status),
        diverged_at=seen.status.effective.diverged_at if seen.status.effective else None,
        avoid_node=_node_to_avoid(draft),
        jobs=seen.jobs,
    )
    try:
        draft.create.extend(documents(attempt, settings))
    except ConfigurationTooLargeError as error:
        refuse(draft, "TooLarge", str(error))
        return
    if seen.older_child is not None:
        draft.delete.append(seen.older_child)
    draft.look_again(starting.LOOK_EVERY)  # also where nothing is heard of the Job
    if seen.status.start_time is None:
        let_settle(draft)
    else:
        _say_started(draft, spec, resolution, image)


def _begin_with(draft: Draft) -> None:
    """Writes down which results of other jobs this one begins with, before anything is made from them: every attempt
    has the same ones, whatever becomes of those jobs."""
    effective = draft.status.effective or EffectiveStatus()
    draft.status.effective = effective.model_copy(update={"jobs": list(draft.seen.jobs)})
    _accept(draft)
    draft.phase("Pending", "Accepted", f"begins with what {', '.join(job.name for job in draft.seen.jobs)} has made")
    draft.look_again(0.05)


def _wait_for(draft: Draft) -> None:
    """Something outside is in the way: look again, less often the longer it lasts."""
    obstacle = draft.seen.obstacle
    assert obstacle is not None
    if obstacle.passing:
        age = (draft.now - draft.seen.created).total_seconds()
        draft.look_again(min(max(1.0, age / 4), FIRST_LOOK))  # each look asks for all that is to be made
        return
    (_wait_in_turn if obstacle.waiting else refuse)(draft, obstacle.reason, obstacle.message)
    accepted = find(draft.status.conditions, "Accepted")
    since = times.parse(accepted.last_transition_time) if accepted else None
    elapsed = (draft.now - since).total_seconds() if since else 0.0
    draft.look_again(min(max(FIRST_LOOK, elapsed / 2), LONGEST_LOOK))


def _wait_in_turn(draft: Draft, reason: str, message: str) -> None:
    """The job is right and waits for another one."""
    before = find(draft.seen.status.conditions, "Running")
    _accept(draft)
    draft.phase("Pending", reason, message)
    if before is None or before.reason != reason:
        draft.normal(reason, message)


def _accept(draft: Draft) -> None:
    if not is_true(draft.status.conditions, "Accepted"):
        draft.condition("Accepted", True, "Accepted", "the job is valid and may run")
        draft.set_if_there("Stalled", False, "Accepted")


def _say_started(draft: Draft, spec: FineTuneJobSpec, resolution: Resolution, image: str) -> None:
    seen, status = draft.seen, draft.status
    first = status.start_time is None
    status.attempt = seen.attempt
    status.start_time = status.start_time or times.text(draft.now)
    if first:
        status.effective = _effective(seen, resolution, image)
        status.restarts = Restarts()
        status.warnings = warnings(spec) or None
    else:
        status.effective = _moved(status.effective or EffectiveStatus(), seen, resolution, image)
    _accept(draft)
    draft.phase("Starting", "Starting", f"waiting for the pods of attempt {seen.attempt}")
    step = recording.checkpoint_step(status)
    onward = f", from the checkpoint of step {step}" if step is not None else ""
    draft.normal("Started", f"attempt {seen.attempt} is started{onward}")
    if first:
        for warning in (status.warnings or [])[:1]:
            draft.warn("Unusual", "; ".join([warning, *(status.warnings or [])[1:]])[:1024])


def _effective(seen: Observation, resolution: Resolution, image: str) -> EffectiveStatus:
    """What is known before the trainer has looked at model and device."""
    spec = resolution.spec
    values, compute = spec.hyperparameters, spec.compute
    nodes, gpus = (compute.nodes or 1, compute.gpus_per_node or 0) if compute else (1, 0)
    return EffectiveStatus(
        method=spec.method,
        tuning=spec.tuning.type if spec.tuning else None,
        model=_lineage(spec.model, seen.jobs),
        results=f"{seen.name}/{fingerprint(spec, produced(seen.jobs))}",
        jobs=list(seen.jobs) or None,
        gpus=nodes * gpus,
        world_size=nodes * max(1, gpus),
        per_device_batch_size=values.per_device_batch_size if values else None,
        gradient_accumulation_steps=values.gradient_accumulation_steps if values else None,
        learning_rate=values.learning_rate if values else None,
        image=image,
        because=list(resolution.because) or None,
    )


def _lineage(model: Model, jobs: tuple[JobStatus, ...]) -> str | None:
    """Where the model comes from, back to one that no job has made: `job sft on job cpt on models/base`."""
    if model.hub is not None:
        return model.hub.id
    if model.claim is not None:
        return f"{model.claim.name}/{model.claim.path or ''}"
    nearest = jobs[0] if jobs else None
    return f"job {nearest.name}{f' on {nearest.model}' if nearest.model else ''}" if nearest else None


def _moved(before: EffectiveStatus, seen: Observation, resolution: Resolution, image: str) -> EffectiveStatus:
    """Later attempts keep what was learnt; only the size may have been changed, while suspended."""
    now = _effective(seen, resolution, image)
    kept = {"results": before.results or now.results, **_shared(before, now)}
    return before.model_copy(update={"gpus": now.gpus, "world_size": now.world_size, "image": image, **kept})


def _shared(before: EffectiveStatus, now: EffectiveStatus) -> dict[str, int]:
    """Device batch and accumulation with which another number of processes keeps the effective batch."""
    shared = resizing.shared(before, now.world_size or 1)
    return {"per_device_batch_size": shared[0], "gradient_accumulation_steps": shared[1]} if shared else {}


def _image(draft: Draft, resolution: Resolution, settings: Settings) -> str:
    """The image of the first attempt, so that an operator's upgrade changes no running job."""
    effective = draft.seen.status.effective
    compute = resolution.spec.compute
    return (effective.image if effective else None) or (compute.image if compute else None) or settings.trainer_image


def _node_to_avoid(draft: Draft) -> str | None:
    failure = draft.seen.status.failure
    return failure.node if failure and failure.reason == "DeviceUnavailable" else None

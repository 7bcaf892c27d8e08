"""The lives that the sweeps disturb: what a user does to a job, how its pods end, and what must have become of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubernetes import client

from tests.builders.manifests import JobManifest, a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import FINISHED, Jobs
from tests.integration.view import LOOK_EVERY, View

PATIENCE_SECONDS = 240.0
Status = dict[str, Any]


class Life:
    """One job. Each step waits until the job is where the next one makes sense."""

    def __init__(
        self, name: str, jobs: Jobs, pods: PodPlayer, view: View, tend: Callable[[], None] = lambda: None
    ) -> None:
        """`tend` is called whenever it is looked whether something has happened."""
        self.name = name
        self._jobs, self._pods, self._view, self._tend = jobs, pods, view, tend
        self._manifest = a_manifest().named(name).retrying(backoffSeconds=0)
        self._uid = ""
        self.status: Status = {}
        """As the job had it when it ended."""

    def apply(self, change: Callable[[JobManifest], JobManifest] = lambda manifest: manifest) -> None:
        self._manifest = change(self._manifest)
        self._uid = self._jobs.apply(self._manifest)["metadata"]["uid"]

    def reach(self, phase: str, attempt: int) -> None:
        """Waits for a phase in an attempt of the job that was last applied."""

        def reached() -> bool:
            job = self._view.job(self._jobs.namespace, self.name)
            self.status = job.get("status", {}) if job and job["metadata"]["uid"] == self._uid else {}
            return (self.status.get("phase"), self.status.get("attempt")) == (phase, attempt)

        self._until(reached, f"{phase} in attempt {attempt}")

    def run(self, attempt: int) -> None:
        """Lets the attempt's pod run; not before the status tells of the attempt, so that all lives have all writes."""
        self.reach("Starting", attempt)
        self._pods.run(self._pod(attempt))
        self.reach("Running", attempt)

    def crash(self, attempt: int) -> None:
        self._pods.fail(self._pod(attempt), 1, self._jobs.record(self.name, "InternalError", attempt))

    def finish(self, attempt: int) -> None:
        self._pods.succeed(self._pod(attempt), self._jobs.record(self.name, "Finished", attempt=attempt, **FINISHED))

    def delete(self) -> None:
        """Deletes the job, as `kubectl delete` does; children may stay for a while."""
        self._jobs.delete(self.name)

    def be_gone(self) -> None:
        """Waits until neither the job nor anything of it is left."""
        self._until(lambda: self._view.job(self._jobs.namespace, self.name) is None, "be gone")
        self._until(lambda: not self._children(), "have no Jobs left")

    def _children(self) -> list[str]:
        here = (name for namespace, name in self._view.children() if namespace == self._jobs.namespace)
        return [name for name in here if name.rpartition("-")[0] == self.name]

    def _pod(self, attempt: int) -> client.V1Pod:
        (pod,) = self._pods.wait(job=f"{self.name}-{attempt}", timeout=PATIENCE_SECONDS)
        return pod

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        def tended() -> bool:
            self._tend()
            return condition()

        try:
            until(tended, f"{self.name} to {what}", PATIENCE_SECONDS, every=LOOK_EVERY)
        except ClusterError as error:
            raise ClusterError(f"{error}; it is {self.status}") from None


def goes_through_everything(life: Life) -> None:
    """Crashes once, is suspended and resumed, finishes, and goes when its time is over."""
    life.apply()
    life.run(1)
    life.crash(1)
    life.run(2)
    life.apply(JobManifest.suspended)
    life.reach("Suspended", 3)
    life.apply(lambda manifest: manifest.suspended(False))
    life.run(3)
    life.finish(3)
    life.reach("Succeeded", 3)
    life.apply(lambda manifest: manifest.with_spec(ttlSecondsAfterFinished=0))
    life.be_gone()


def is_cancelled(life: Life) -> None:
    """Is cancelled while it trains, and deleted as a user does afterwards."""
    life.apply()
    life.run(1)
    life.apply(JobManifest.cancelled)
    life.reach("Cancelled", 1)
    life.delete()
    life.be_gone()


def is_applied_again(life: Life) -> None:
    """Is deleted while it trains and applied again before its pods are gone, as a GitOps tool does; then finishes."""
    life.apply()
    life.run(1)
    life.delete()
    life.apply()
    life.run(1)
    life.finish(1)
    life.reach("Succeeded", 1)
    life.delete()
    life.be_gone()


@dataclass(frozen=True)
class Story:
    """A life, and what must be true of it whatever was disturbed."""

    live: Callable[[Life], None]
    ends: tuple[tuple[int, str], ...]
    """Attempt and reason of each line of history."""
    made: tuple[int, ...]
    """The attempts for which a Job was made, each as often as it is to be."""
    failures: int = 0

    @property
    def name(self) -> str:
        return self.live.__name__.replace("_", "-")

    def check(self, life: Life, made: Counter[str], fault: object = "") -> None:
        """`made` counts the Jobs of the life's namespace that were made, by name."""
        about = f"{life.name}: {fault}: {life.status}"
        assert tuple((entry["attempt"], entry["reason"]) for entry in life.status["history"]) == self.ends, about
        restarts = life.status["restarts"]
        assert (restarts["failures"], restarts["disruptions"], restarts["hangs"]) == (self.failures, 0, 0), about
        jobs = Counter({job: number for job, number in made.items() if job.rpartition("-")[0] == life.name})
        assert jobs == Counter(f"{life.name}-{attempt}" for attempt in self.made), f"{about}: {jobs}"


EVERYTHING = Story(
    goes_through_everything, ends=((1, "Crash"), (2, "Suspended"), (3, "Finished")), made=(1, 2, 3), failures=1
)
CANCELLED = Story(is_cancelled, ends=((1, "Cancelled"),), made=(1,))
APPLIED_AGAIN = Story(is_applied_again, ends=((1, "Finished"),), made=(1, 1))
STORIES = (EVERYTHING, CANCELLED, APPLIED_AGAIN)


def jobs_made(control_plane: ControlPlane) -> dict[str, Counter[str]]:
    """By namespace the names of the Jobs that were made there, with how often each was."""

    def is_one(event: dict[str, Any]) -> bool:
        made = event["verb"] == "create" and event["responseStatus"]["code"] == 201
        return made and bool(event.get("objectRef", {}).get("resource") == "jobs")

    made: dict[str, Counter[str]] = defaultdict(Counter)
    for event in control_plane.audit_events(is_one):
        made[event["objectRef"]["namespace"]][event["objectRef"]["name"]] += 1
    return made

"""A model of what moves beside the operator: Job controller, garbage collection, kubelets, and trainers on a volume.

The Job controller is that of Indexed Jobs with backoffLimit 0 and podReplacementPolicy Failed: one pod's end ends the
others, and the Job is Failed only when the last of them has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from finetune_api.trainer_contract import (
    CONFIG_VARIABLE,
    AttemptRecord,
    CheckpointInfo,
    CheckpointState,
    Effective,
    EndKind,
    ExitCode,
    ProgressReport,
    Result,
    TrainerConfig,
)
from finetune_operator import names
from finetune_operator.kube.protocol import FINE_TUNE_JOB, JOB, NETWORK_POLICY, POD, SERVICE, Document

from .api_server import ApiServer, owners
from .volume import Directory, place

TOTAL_STEPS = 400


@dataclass
class Trainer:
    """The trainer of a gang of pods that run, or ran."""

    config: TrainerConfig
    place: str
    directory: Directory
    run: int
    from_step: int
    step: int
    finite: bool
    moved_at: str


@dataclass
class Cluster:
    """Everything but the API server and the operator."""

    api: ApiServer
    trainers: dict[str, Trainer] = field(default_factory=dict)
    """By pod; pods of one gang share theirs."""
    volume: dict[str, Directory] = field(default_factory=dict)
    lost_nodes: set[str] = field(default_factory=set)
    deaf: bool = False
    """Trainers do not answer."""
    keeps_start_time: bool = False
    """When a Job began stays in its status while it is held: neither its controller nor its queue takes it away."""

    # What the rest of the cluster does by itself

    def move(self) -> None:
        """Controllers and kubelets do what they have to, until they have nothing to do. No pod ends here."""
        for _ in range(100):
            version = self.api.version
            self._collect()
            for job in self.api.all(JOB):
                self._sync(job)
            for pod in self.api.all(POD):
                self._kubelet(pod)
            if self.api.version == version:
                return
        raise AssertionError("the model's controllers do not come to rest")

    def _collect(self) -> None:
        """Takes away what no owner keeps; an owner that goes in the foreground goes after what it owns."""
        for kind in (SERVICE, NETWORK_POLICY, JOB, POD):
            for document in self.api.all(kind):
                if owners(document) and not any(self.api.is_solid(uid) for uid in owners(document)):
                    waited_for = any(self.api.has_uid(uid) for uid in owners(document))
                    self.api.delete(kind, document["metadata"]["name"], foreground=waited_for or None)
        for kind in (NETWORK_POLICY, FINE_TUNE_JOB):
            for document in self.api.all(kind):
                if "deletionTimestamp" in document["metadata"] and not self.api.owned(JOB, document):
                    self.api.remove(kind, document["metadata"]["name"])

    def _sync(self, job: Document) -> None:
        """One pass of the Job controller."""
        name, pods = job["metadata"]["name"], self.api.owned(POD, job)
        if "deletionTimestamp" in job["metadata"]:
            for pod in pods:
                self.api.delete(POD, pod["metadata"]["name"])
            if not self.api.owned(POD, job):
                self.api.remove(JOB, name)
            return
        status = job.get("status") or {}
        if any(c["type"] in ("Complete", "Failed") for c in status.get("conditions") or ()):
            return
        if job["spec"].get("suspend"):
            self._suspend(name, status, pods)
            return
        if not status.get("made") and any(phase(pod) == "Running" for pod in pods):
            return  # the run before its suspension has not ended: podReplacementPolicy Failed
        pods = [pod for pod in pods if pod["metadata"]["uid"] not in (status.get("uncounted") or ())]
        wanted = job["spec"]["completions"]
        failed = [pod for pod in pods if phase(pod) == "Failed"]
        made = len(pods) if status.get("made") else 0
        if not status.get("made"):
            for index in range(wanted):
                self._make_pod(job, index)
            self.api.change(JOB, name, status={"made": True, "active": wanted, "startTime": self.api.clock.text()})
        elif failed or made < wanted or status.get("failing"):
            self._fail(job, pods, failed)
        elif all(phase(pod) == "Succeeded" for pod in pods):
            self._end(name, "Complete", "CompletionsReached", "")

    def _suspend(self, name: str, status: Document, pods: list[Document]) -> None:
        """Its queue holds the Job: pods go, and how they end does not count."""
        for pod in pods:
            if phase(pod) in ("Pending", "Running"):
                self.api.delete(POD, pod["metadata"]["name"])
        uncounted = sorted({*(status.get("uncounted") or ()), *(pod["metadata"]["uid"] for pod in pods)})
        held = {"made": None, "active": 0, "uncounted": uncounted}
        if not self.keeps_start_time:
            held["startTime"] = None
        self.api.change(JOB, name, status=held)

    def _fail(self, job: Document, pods: list[Document], failed: list[Document]) -> None:
        name = job["metadata"]["name"]
        failing = (job.get("status") or {}).get("failing") or _why(failed)
        for pod in pods:
            if phase(pod) in ("Pending", "Running"):
                self.api.delete(POD, pod["metadata"]["name"])
        left = sum(phase(pod) == "Running" for pod in self.api.owned(POD, job))
        if left:
            self.api.change(JOB, name, status={"failing": failing, "active": 0, "terminating": left})
        else:
            self._end(name, "Failed", *failing)

    def _end(self, job: str, kind: str, reason: str, message: str) -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        condition["lastTransitionTime"] = self.api.clock.text()
        self.api.change(JOB, job, status={"conditions": [condition], "active": 0, "terminating": 0})

    def _make_pod(self, job: Document, index: int) -> None:
        metadata = job["metadata"]
        template = job["spec"]["template"]
        labels = {**template["metadata"].get("labels", {}), names.CHILD_LABEL: metadata["name"]}
        before = len((job.get("status") or {}).get("uncounted") or ())  # of runs that a queue ended
        owner = {"kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
        self.api.create(
            POD,
            {
                "metadata": {
                    "name": f"{metadata['name']}-{index}-{metadata['uid']}-{before}",
                    "labels": labels,
                    "annotations": {names.COMPLETION_INDEX: str(index)},
                    "ownerReferences": [owner],
                },
                "spec": {**template["spec"], "nodeName": f"node-{metadata['uid']}-{index}"},
                "status": {"phase": "Pending"},
            },
        )

    def _kubelet(self, pod: Document) -> None:
        """Starts a pod; takes a finished one away that is under deletion."""
        name = pod["metadata"]["name"]
        if "deletionTimestamp" in pod["metadata"]:
            if phase(pod) != "Running":
                self.api.remove(POD, name)
        elif phase(pod) == "Pending":
            state = {"name": names.CONTAINER, "state": {"running": {"startedAt": self.api.clock.text()}}}
            self.trainers[name] = self._trainer(pod)
            self.api.change(POD, name, status={"phase": "Running", "podIP": "10.1.0.1", "containerStatuses": [state]})

    # Trainers

    def _trainer(self, pod: Document) -> Trainer:
        """Of its gang, which the first pod begins."""
        for other in self.running():
            if gang(other["metadata"]["name"]) == gang(pod["metadata"]["name"]):
                return self.trainers[other["metadata"]["name"]]
        (container,) = (c for c in pod["spec"]["containers"] if c["name"] == names.CONTAINER)
        (text,) = (v["value"] for v in container["env"] if v["name"] == CONFIG_VARIABLE)
        config = TrainerConfig.decode(text)
        where = place(pod, config)
        directory = self.volume.setdefault(where, Directory())
        run, begin = directory.claim(), directory.resume(config.diverged_at)
        step, finite = (begin.step, begin.finite) if begin else (0, True)
        return Trainer(config, where, directory, run, step, step, finite, self.api.clock.text())

    def running(self) -> list[Document]:
        """The pods that run now."""
        return [pod for pod in self.api.all(POD) if phase(pod) == "Running"]

    def train(self, pod: str, steps: int) -> None:
        """The trainer makes some steps."""
        trainer = self.trainers[pod]
        trainer.step = min(TOTAL_STEPS, trainer.step + steps)
        trainer.moved_at = self.api.clock.text()

    def begin_to_save(self, pod: str) -> None:
        """The trainer begins to write a checkpoint; what becomes of it is open."""
        trainer = self.trainers[pod]
        trainer.directory.begin(trainer.run, trainer.step, trainer.finite)

    def save(self, pod: str) -> None:
        """The trainer writes a checkpoint, or what it began."""
        self.begin_to_save(pod)
        self.trainers[pod].directory.commit(self.trainers[pod].run)

    def newest(self, job: str) -> int:
        """The step of the newest complete checkpoint of all that trainers of this job's name ever wrote; else 0."""
        places = {trainer.place for trainer in self.trainers.values() if trainer.config.job.name == job}
        return max((one.step for place in places for one in self.volume[place].complete), default=0)

    def overflow(self, pod: str) -> None:
        """From here on what the trainer computes, and saves, is not finite."""
        self.trainers[pod].finite = False

    def progress(self, pod: str) -> bytes | None:
        """The answer of `GET /progress`."""
        trainer = self.trainers.get(pod)
        if trainer is None or self.deaf or self.api.find(POD, pod) is None:
            return None
        report = ProgressReport(
            uid=trainer.config.job.uid,
            attempt=trainer.config.attempt,
            run=trainer.run,
            stage="Training",
            step=trainer.step,
            from_step=trainer.from_step,
            total_steps=TOTAL_STEPS,
            updated_at=trainer.moved_at,
            checkpoint=self._saved(trainer),
        )
        return report.model_dump_json(by_alias=True).encode()

    @staticmethod
    def _saved(trainer: Trainer) -> CheckpointState:
        complete = trainer.directory.complete
        if not complete:
            return CheckpointState()
        return CheckpointState(latest=CheckpointInfo(step=complete[-1].step), count=len(complete))

    def record(self, pod: str, kind: EndKind) -> str:
        """The termination message with which the trainer of the pod ends."""
        trainer = self.trainers[pod]
        batch = trainer.config.adaptation.per_device_batch_size or 8
        return AttemptRecord(
            uid=trainer.config.job.uid,
            attempt=trainer.config.attempt,
            run=trainer.run,
            kind=kind,
            step=trainer.step,
            from_step=trainer.from_step,
            total_steps=TOTAL_STEPS,
            checkpoint=self._saved(trainer),
            effective=Effective(per_device_batch_size=batch, gradient_accumulation_steps=8 // batch),
            output=Result(path=f"{trainer.config.fingerprint}/output", adapter=True, bytes=1)
            if kind == EndKind.FINISHED
            else None,
        ).encode()

    # Ends of pods

    def end(self, pod: str, kind: EndKind, *, killed: bool = False) -> None:
        """The container ends as the trainer says, or is killed and says nothing."""
        if kind in (EndKind.INTERRUPTED, EndKind.FINISHED) and not killed:
            self.train(pod, TOTAL_STEPS if kind == EndKind.FINISHED else 1)
            self.save(pod)
        code = 137 if killed else int(ExitCode.of(kind))
        ended: dict[str, Any] = {"exitCode": code, "finishedAt": self.api.clock.text(), "reason": "Error"}
        if not killed:
            ended["message"] = self.record(pod, kind)
        elif kind == EndKind.HOST_OUT_OF_MEMORY:
            ended["reason"] = "OOMKilled"
        status = {"name": names.CONTAINER, "state": {"terminated": ended}}
        self.api.change(POD, pod, status={"phase": "Failed" if code else "Succeeded", "containerStatuses": [status]})

    def disrupt(self, pod: str, reason: str) -> None:
        """An eviction or preemption: a condition, then the deletion."""
        condition = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        self.api.change(POD, pod, status={"conditions": [condition]})
        self.api.delete(POD, pod)

    def lose_node(self, pod: Document) -> None:
        """The pod's node is cut off: the pod is deleted, and nobody can end it."""
        self.lost_nodes.add(pod["spec"]["nodeName"])
        self.disrupt(pod["metadata"]["name"], "DeletionByTaintManager")

    def stop_deleted(self, *, killed: bool = False) -> None:
        """Pods under deletion whose nodes live end as SIGTERM asks them to, or are killed when their grace is over."""
        for pod in self.running():
            if "deletionTimestamp" in pod["metadata"] and pod["spec"]["nodeName"] not in self.lost_nodes:
                self.end(pod["metadata"]["name"], EndKind.INTERRUPTED, killed=killed)

    def collect_lost(self) -> None:
        """Lost nodes are taken out of the cluster in the end, and with them the pods of what is being deleted."""
        wanted = {
            d["metadata"]["uid"]
            for job in self.api.all(FINE_TUNE_JOB)
            for d in self.api.owned(JOB, job)
            if "deletionTimestamp" not in job["metadata"]
        }
        for pod in self.running():
            if pod["spec"]["nodeName"] in self.lost_nodes and owners(pod)[0] not in wanted:
                self.api.delete(POD, pod["metadata"]["name"], grace=0)

    def node(self, name: str) -> Document:
        """The node, with what its kubelet says of itself."""
        ready = "Unknown" if name in self.lost_nodes else "True"
        return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def phase(pod: Document) -> str:
    """A pod's phase."""
    return str((pod.get("status") or {}).get("phase", "Pending"))


def gang(pod: str) -> tuple[str, str]:
    """What pods of one gang have in common in their names: the uid of their Job and the ended ones before them."""
    uid, before = pod.rsplit("-", 2)[1:]
    return uid, before


def _why(failed: list[Document]) -> list[str]:
    """Reason and message of a Job whose pods failed."""
    for pod in failed:
        status = pod["status"]
        if any(c["type"] == "DisruptionTarget" for c in status.get("conditions") or ()):
            return ["PodFailurePolicy", f"Pod {pod['metadata']['name']} has condition DisruptionTarget"]
        for container in status.get("containerStatuses") or ():
            code = container["state"].get("terminated", {}).get("exitCode", 0)
            if 10 <= code <= 15 and code != ExitCode.INTERRUPTED:
                return ["PodFailurePolicy", f"Container trainer failed with exit code {code}"]
    return ["BackoffLimitExceeded", "Job has reached the specified backoff limit"]

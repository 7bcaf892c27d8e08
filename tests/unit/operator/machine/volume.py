"""What trainers leave on a volume: runs, and checkpoints that are complete, torn or not finite; keeps no files."""

from __future__ import annotations

from dataclasses import dataclass, field

from finetune_api.trainer_contract import TrainerConfig
from finetune_operator import names
from finetune_operator.builders.mounts import OUTPUT
from finetune_operator.kube.protocol import Document


@dataclass
class Saved:
    """A checkpoint. One without a manifest is torn: its writer died in between, or is not done yet."""

    step: int
    run: int
    finite: bool
    complete: bool = False


@dataclass
class Directory:
    """The directory of one fingerprint. Only the newest run changes it, as the fence has it."""

    runs: int = 0
    checkpoints: list[Saved] = field(default_factory=list)
    rewound: int | None = None
    """The divergence that a run went back before, as run.json keeps it."""

    def claim(self) -> int:
        """The number of a new run."""
        self.runs += 1
        return self.runs

    def begin(self, run: int, step: int, finite: bool) -> None:
        """A run begins to write a checkpoint."""
        if run == self.runs:
            self.checkpoints = [one for one in self.checkpoints if one.step != step or one.complete]
            self.checkpoints.append(Saved(step, run, finite))

    def commit(self, run: int) -> None:
        """A run has written what it began."""
        for saved in self.checkpoints:
            if saved.run == run == self.runs:
                saved.complete = True

    @property
    def complete(self) -> list[Saved]:
        """Oldest first; of one step the newest run's last."""
        return sorted((one for one in self.checkpoints if one.complete), key=lambda one: (one.step, one.run))

    @property
    def newest(self) -> Saved | None:
        return self.complete[-1] if self.complete else None

    def resume(self, diverged_at: int | None) -> Saved | None:
        """Where the newest run goes on (None: the beginning), having gone back before a divergence if told to, once."""
        if diverged_at is not None and self.rewound != diverged_at:
            self.checkpoints = [one for one in self.checkpoints if one.step < diverged_at and one.finite]
            self.rewound = diverged_at
        return self.newest


def place(pod: Document, config: TrainerConfig) -> str:
    """Where the results of a pod lie: claim, path on it and fingerprint, by what the pod really mounts."""
    spec = pod["spec"]
    (container,) = (one for one in spec["containers"] if one["name"] == names.CONTAINER)
    (mount,) = (one for one in container["volumeMounts"] if one["mountPath"] == OUTPUT)
    (volume,) = (one for one in spec["volumes"] if one["name"] == mount["name"])
    assert config.mounts.output == OUTPUT, "the trainer writes where nothing is mounted"
    return f"{volume['persistentVolumeClaim']['claimName']}/{mount['subPath']}/{config.fingerprint}"

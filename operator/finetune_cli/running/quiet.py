"""The view of nobody, for what is done to a job without running it."""

from __future__ import annotations

from finetune_api.trainer_contract import ProgressReport
from finetune_operator.kube.protocol import Document


class QuietView:
    """Shows nothing."""

    def job(self, job: Document) -> None:
        pass

    def report(self, report: ProgressReport) -> None:
        pass

    def event(self, event: Document) -> None:
        pass

    def say(self, text: str) -> None:
        pass

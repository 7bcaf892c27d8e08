"""The view for a terminal: a panel that stays, with lines of what happened above it; keeps no state of the job."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from finetune_api.trainer_contract import ProgressReport
from finetune_operator.kube.protocol import Document

from .numbers import duration, measured, size
from .story import STAGES, Line, Story, waiting_for

_PHASE_STYLES = {
    "Succeeded": "green",
    "Failed": "red",
    "Retrying": "yellow",
    "Suspending": "yellow",
    "Suspended": "yellow",
}


class LiveView:
    """Phase, stage, progress, loss, speed, checkpoint. Use as a context manager."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._job: Document = {}
        self._report: ProgressReport | None = None
        self._story = Story()
        self._began = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.panel)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def job(self, job: Document) -> None:
        self._job = job
        self._tell(self._story.job(job))

    def report(self, report: ProgressReport) -> None:
        self._report = report
        self._tell(self._story.report(report))

    def event(self, event: Document) -> None:
        self._tell(self._story.event(event))

    def say(self, text: str) -> None:
        self._console.print(Text(text, "yellow"))

    def panel(self) -> RenderableType:
        """What is shown now."""
        status = self._job.get("status") or {}
        phase, attempt = status.get("phase", "Pending"), status.get("attempt") or 1
        head = Text.assemble((phase, f"bold {_PHASE_STYLES.get(phase, 'cyan')}"))
        if attempt > 1:
            head.append(f"  attempt {attempt}", "yellow")
        head.append(f"  {duration(time.monotonic() - self._began)}", "dim")
        report = self._report
        if report is not None and attempt > 1 and report.from_step and report.attempt == attempt:
            head.append(f"  from step {report.from_step}", "dim")
        body: RenderableType = Text(waiting_for(status) or STAGES["Starting"], "dim")
        if report is not None and not waiting_for(status) and report.attempt == attempt:
            body = _progress(report, phase)
        return Panel(
            Group(head, body),
            title=f"[bold]{self._name}",
            title_align="left",
            border_style="cyan",
            width=min(self._console.width, 90),
        )

    def _tell(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._console.print(Text(line.text, "yellow" if line.worry else ""))


def _progress(report: ProgressReport, phase: str) -> RenderableType:
    done = phase == "Succeeded"
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(width=20)
    line.add_column(ratio=1)
    line.add_column(justify="right", min_width=12)
    steps = f"{report.step}/{report.total_steps}" if report.total_steps else ""
    total = report.total_steps or 1
    bar = ProgressBar(total=total, completed=total if done else report.step, pulse=not (report.total_steps or done))
    line.add_row(Text("done" if done else STAGES[report.stage], "bold"), bar, steps)
    facts = Table.grid(padding=(0, 3))
    latest = report.checkpoint.latest
    facts.add_row(
        _fact("loss", measured(report.loss)),
        _fact("eval loss", measured(report.eval_loss)),
        _fact("tokens/s", f"{report.tokens_per_second:,.0f}" if report.tokens_per_second else "-"),
        _fact("ETA", duration(report.remaining_seconds)),
        _fact("checkpoint", f"{latest.step} ({size(latest.bytes)})" if latest else "-"),
    )
    return Group(line, facts)


def _fact(name: str, value: str) -> Text:
    return Text.assemble((f"{name} ", "dim"), value)

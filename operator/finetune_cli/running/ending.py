"""The last words of a run: what came of the job, where the result lies, what to do next; and the exit code for that."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from finetune_api.v1alpha1.job import FineTuneJob
from finetune_operator.kube.protocol import Document

from ..errors import Exit
from .numbers import measured, size
from .session import Session, refusal, turn


def conclude(console: Console, session: Session, job: Document) -> Exit:
    """Says how it ended."""
    phase = (job.get("status") or {}).get("phase")
    if phase == "Succeeded":
        _succeeded(console, session, job)
        return Exit.SUCCEEDED
    if phase == "Failed":
        _failed(console, session, job["status"])
        return Exit.FAILED
    refused = refusal(job)
    if refused is not None:
        console.print(Text(f"refused: {refused['reason']}: {refused['message']}", "red"))
        return Exit.INVALID
    waits = turn(job)
    if waits is not None and not session.interrupts:
        console.print(Text(f"not started: {waits}", "red"))
        console.print("  run that job to its end first, into the same --output", highlight=False)
        return Exit.CANNOT_START
    if session.interrupts:
        _interrupted(console, job)
        return Exit.INTERRUPTED
    asked = "cancel" if phase == "Cancelled" else "suspend"
    if getattr(session.manifest.spec, asked):
        console.print(f"{phase}: the manifest says {asked}: true")
    else:
        console.print(f"cancelled{_at_step(job)}; its checkpoints and record are kept")
    return Exit.NOT_FINISHED


def result_directory(session: Session, job: Document) -> Path | None:
    """Where the result lies on this machine."""
    output = (job.get("status") or {}).get("output") or {}
    if not output.get("path"):
        return None
    return session.directories.claim(output.get("claim", "")) / str(output["path"])


def _succeeded(console: Console, session: Session, job: Document) -> None:
    status = job["status"]
    reason = next((c["reason"] for c in status.get("conditions", ()) if c["type"] == "Succeeded"), "")
    again = " (AlreadyComplete: the result was there, nothing was trained)" if reason == "AlreadyComplete" else ""
    console.print(Text.assemble((f"{session.manifest.metadata.name} succeeded", "bold green"), again))
    metrics = status.get("metrics") or {}
    shown = [
        f"{name} {measured(value)}" for name, value in sorted(metrics.items()) if "loss" in name and value is not None
    ]
    if shown:
        console.print("  " + ", ".join(shown))
    directory = result_directory(session, job)
    if directory is not None:
        adapter = (status.get("output") or {}).get("adapter")
        kind = "adapter" if adapter else "model"
        console.print(
            f"  {kind}: {_near(directory)} ({size((status.get('output') or {}).get('bytes'))})", soft_wrap=True
        )
        console.print(
            Text(f"  load it: {_how_to_load(session.manifest, directory, bool(adapter))}", "dim"), soft_wrap=True
        )


def _failed(console: Console, session: Session, status: Document) -> None:
    failure = status.get("failure") or {}
    reason = next((c["reason"] for c in status.get("conditions", ()) if c["type"] == "Failed"), "")
    last = failure.get("reason", "")
    said = f"{reason} (the last time {last})" if reason == "RetriesExhausted" else reason or last
    console.print(Text.assemble((f"{session.manifest.metadata.name} failed", "bold red"), f": {said}"))
    for text in (failure.get("message"), failure.get("advice")):
        if text:
            console.print(Text(f"  {text}"), soft_wrap=True)
    if _where(failure):
        console.print(Text(f"  {_where(failure)}", "dim"))
    log = session.state / f"{session.manifest.metadata.name}-{failure.get('attempt', 1)}-0.log"
    if log.exists():
        console.print(Text(f"  log: {_near(log)}", "dim"), soft_wrap=True)


def _where(failure: Document) -> str:
    """Which process of which attempt, and how it ended, as far as that is known."""
    names = (("attempt", "attempt"), ("rank", "rank"), ("exitCode", "exit code"), ("signal", "signal"))
    known = [f"{text} {failure[name]}" for name, text in names if failure.get(name) is not None]
    return ", ".join(known) if len(known) > 1 else ""


def _interrupted(console: Console, job: Document) -> None:
    console.print(f"paused{_at_step(job)}; the same command continues it")


def _at_step(job: Document) -> str:
    latest = ((job.get("status") or {}).get("checkpoint") or {}).get("latest") or {}
    return f" at step {latest['step']}" if latest else ""


def _how_to_load(manifest: FineTuneJob, directory: Path, adapter: bool) -> str:
    if adapter and manifest.spec.model.job is not None:
        return f"see {_near(directory) / 'README.md'}: it lies upon what job {manifest.spec.model.job.name} has made"
    if adapter:
        return f"peft.AutoPeftModelForCausalLM.from_pretrained({str(_near(directory))!r})"
    return f"transformers.AutoModelForCausalLM.from_pretrained({str(_near(directory))!r})"


def _near(path: Path) -> Path:
    """Relative to the working directory where it lies below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

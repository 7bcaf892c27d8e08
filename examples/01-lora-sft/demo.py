"""The whole way on this machine: data, a base model, a tuned model, and what tuning changed.

Run: python demo.py [DIRECTORY]
Every step is one that a person can take by hand; README.md beside this file lists them. Needs no cluster, GPU or hub.
Run again, it finds what is there; remove the directory to start anew.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import make_base_model
import make_data
import plotext
from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

HERE = Path(__file__).parent
CLEARLY_LOWER = 0.95
"""The tuned model's loss on held-out pairs must be below this share of the base model's."""
console = Console(highlight=False)


def main(workspace: Path) -> int:
    """Returns the exit code: 0 only where the tuned model is clearly better than its base."""
    began = time.monotonic()
    models, datasets, results = (workspace / name for name in ("models", "datasets", "results"))
    make_inputs(models, datasets)
    step("Teach the base model Python: finetune run pretrain.yaml")
    base = finetune("pretrain.yaml", "tiny-llama", models, datasets, results)
    shutil.copytree(base, models / "tiny-llama", dirs_exist_ok=True)
    step("Tune it on instructions: finetune run job.yaml")
    tuned = finetune("job.yaml", "python-coder", models, datasets, results)
    step("What tuning changed")
    report: dict[str, Any] = json.loads((tuned / "report.json").read_text(encoding="utf-8"))
    show_curve(report)
    show_answers(models / "tiny-llama", tuned, datasets / "python-instructions" / "held-out.jsonl")
    better = show_losses(report)
    console.print(f"\nThe adapter: [bold]{near(tuned)}[/]  all files: {near(workspace)}", soft_wrap=True)
    console.print(f"[dim]Took {time.monotonic() - began:.0f} s.[/]")
    return 0 if better else 1


def make_inputs(models: Path, datasets: Path) -> None:
    """The two directories that stand for volume claims."""
    step("Make data from Python's standard library, and a small model with random weights")
    if not (models / "tiny-llama-untrained" / "model.safetensors").exists():
        learn, held_out = make_data.make(datasets)
        console.print(f"{learn:,} pairs of instruction and code, {held_out} held out")
        text = datasets / "python-source" / "library.txt"
        parameters = make_base_model.make(text, models / "tiny-llama-untrained")
        console.print(f"{parameters / 1e6:.1f} M parameters, Llama architecture, a vocabulary of its own")


def finetune(manifest: str, job: str, models: Path, datasets: Path, results: Path) -> Path:
    """Runs a manifest to its end and gives the directory of its result. Exits where the job failed."""
    command = [str(Path(sys.executable).with_name("finetune")), "run", str(HERE / manifest)]
    command += ["--claim", f"models={models}", "--claim", f"datasets={datasets}", "--output", str(results)]
    before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the run: it saves, then it ends
    ended = subprocess.run(command, check=False)
    signal.signal(signal.SIGINT, before)
    if ended.returncode != 0:
        sys.exit(ended.returncode)
    state = json.loads((results / ".finetune" / job / "job.json").read_text(encoding="utf-8"))
    return results / str(state["status"]["output"]["path"])


def show_curve(report: dict[str, Any]) -> None:
    """Loss over steps, of training and on the held-out pairs."""
    plot = plotext.figure
    plot.plot_size(min(console.width, 80), 16)
    training = plot.signal(*zip(*smoothed(report["lossCurve"]), strict=True))
    training.lines()
    training.label("training loss")
    held_out = [(0, report["metrics"]["base_eval_loss"]), *report["evaluationCurve"]]
    plot.draw(training)
    measured = plot.signal(*zip(*held_out, strict=True), marker="●")
    measured.label("held-out loss")
    plot.draw(measured)
    plot.label("step")
    plot.legend(x=plot.size()[0] - 8, y=0, ha="right", va="top")
    console.print(Text.from_ansi(plot.build().string()))


def smoothed(curve: list[list[float]], width: int = 5) -> list[tuple[float, float]]:
    """Means of so many steps: a batch of short examples has another loss than one of long ones."""
    groups = [curve[start : start + width] for start in range(0, len(curve), width)]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]


def show_answers(base: Path, adapter: Path, held_out: Path) -> None:
    """The same prompts before and after, from a process that may load torch."""
    command = [sys.executable, str(HERE / "compare.py"), str(base), str(adapter), str(held_out)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    for compared in json.loads(ended.stdout):
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(ratio=1)
        table.add_column(ratio=1)
        table.add_row(Text("before", "bold red"), Text("after", "bold green"))
        table.add_row(code(compared["before"]), code(compared["after"]))
        console.print(
            Panel(table, title=Text(compared["prompt"].splitlines()[1], "bold"), width=min(console.width, 100))
        )


def show_losses(report: dict[str, Any]) -> bool:
    """The figure that counts. Returns whether it is clearly better."""
    base, tuned = report["metrics"]["base_eval_loss"], report["metrics"]["eval_loss"]
    better = tuned < CLEARLY_LOWER * base
    style = "bold green" if better else "bold red"
    console.print(f"Loss on held-out pairs: base {base:.3f}, tuned [{style}]{tuned:.3f}[/] ({tuned / base - 1:+.0%})")
    if not better:
        console.print("[red]The tuned model is not clearly better than its base.[/]")
    return better


def code(text: str) -> Syntax | Text:
    """What a model answered; a base model may end at once or write only white space."""
    if not text:
        return Text("(nothing but white space)", "dim italic")
    return Syntax(text, "python", word_wrap=True, background_color="default")


def step(title: str) -> None:
    console.rule(f"[bold]{title}", align="left")


def near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parents[1] / "out" / "demo").absolute()))

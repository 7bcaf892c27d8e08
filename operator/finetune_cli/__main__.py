"""The commands of `finetune` (also `kubectl finetune`) and what each says in --help; the work is done elsewhere.

What a command needs is imported when it runs: `finetune version` and the shell's completion must not wait for it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .errors import CliError, Exit

app = typer.Typer(
    name="finetune",
    help="Fine-tunes language models from a manifest, on this machine or on a cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 done, 1 the job failed, 2 wrong command line, 3 manifest wrong or not supported, "
    "4 cannot start here, 5 left suspended or cancelled, 6 no such job, 7 the job has ended, 8 no cluster, "
    "130 interrupted.",
)
Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Manifests; - is standard input.")]
Manifest = Annotated[str, typer.Argument(metavar="FILE", help="The manifest; - is standard input.")]
JobName = Annotated[str | None, typer.Option("--job", metavar="NAME", help="Which job, where the file holds several.")]
Pairs = list[str]


def _jobs(context: typer.Context, incomplete: str) -> list[str]:
    from .steering.completion import names

    return names(context.params, incomplete)


TheJob = Annotated[str, typer.Argument(metavar="JOB", help="The job's name.", autocompletion=_jobs)]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NAME", help="Its namespace; else the context's.")
]
Context = Annotated[str | None, typer.Option(metavar="NAME", help="A context of the kubeconfig; else the current one.")]
RunOutput = Annotated[
    Path | None, typer.Option("--output", metavar="DIR", help="For a `finetune run` on this machine: its --output.")
]


@app.command()
def run(
    file: Manifest,
    claim: Annotated[
        Pairs | None, typer.Option(metavar="NAME=DIR", help="The directory that stands for a volume claim.")
    ] = None,
    config_map: Annotated[
        Pairs | None, typer.Option(metavar="NAME=DIR", help="A directory with a file for each key of a ConfigMap.")
    ] = None,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where results and checkpoints go.")] = Path("out"),
    job: JobName = None,
) -> None:
    """Run a job on this machine. The same command again continues it; Ctrl-C pauses it with a checkpoint."""
    from .running.command import run_job

    raise typer.Exit(run_job(file, claim or [], config_map or [], output, job))


@app.command()
def pause(
    job: TheJob,
    namespace: Namespace = None,
    context: Context = None,
    output: RunOutput = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the job is Suspended.")] = False,
) -> None:
    """Save a checkpoint and give the devices back, until the job is resumed."""
    _steer("pause", job, namespace, context, output, wait)


@app.command()
def resume(
    job: TheJob,
    namespace: Namespace = None,
    context: Context = None,
    output: RunOutput = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the job is Running.")] = False,
) -> None:
    """Let a paused job go on from its checkpoint."""
    _steer("resume", job, namespace, context, output, wait)


@app.command()
def cancel(
    job: TheJob,
    namespace: Namespace = None,
    context: Context = None,
    output: RunOutput = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the job is Cancelled.")] = False,
) -> None:
    """End a job for good. Its checkpoints and its record are kept."""
    _steer("cancel", job, namespace, context, output, wait)


@app.command()
def validate(files: Files) -> None:
    """Say everything that is wrong with manifests, as the cluster would; needs none."""
    from .checking import validate_files

    raise typer.Exit(validate_files(files))


@app.command()
def render(file: Manifest, job: JobName = None) -> None:
    """Print what the operator would create for a job, as YAML."""
    from .rendering import render_job

    raise typer.Exit(render_job(file, job))


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    from finetune_api.v1alpha1 import API_VERSION

    typer.echo(f"finetune {installed('finetune-operator')} ({API_VERSION})")


def _steer(
    wish: str, job: str, namespace: str | None, context: str | None, output: Path | None, wait: bool
) -> NoReturn:
    from .steering.command import Place, steer
    from .steering.wish import Wish

    raise typer.Exit(steer(job, Wish(wish), Place(namespace, context, output), wait))


def main() -> NoReturn:
    """Entry point: messages to stderr, the documented exit codes, never a traceback for what a person can mend."""
    try:
        app()
    except CliError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(Exit.FAILED)
    sys.exit(Exit.SUCCEEDED)


if __name__ == "__main__":
    main()

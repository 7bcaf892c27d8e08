"""The command line of the test cluster: `python -m tests.cluster up|down|binaries`; holds no logic of its own."""

import argparse
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from tests.cluster import binaries, keeper, versions
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError

_START_SECONDS = 300


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, command, text in (
        ("up", _up, "start a cluster in the background"),
        ("keep", _keep, "start a cluster and stay in front until interrupted"),
        ("down", _down, "end a cluster and clean up after it"),
        ("binaries", _binaries, "build the programs ahead, once per version"),
    ):
        sub = commands.add_parser(name, help=text)
        sub.set_defaults(command=command)
        sub.add_argument("--dir", type=Path, default=versions.cache_directory() / "cluster")
        sub.add_argument("--kubernetes", default="newest", help="newest, oldest or a version")
    return parser


def _up(options: argparse.Namespace) -> None:
    _binaries(options)  # first, so that a build of minutes is seen and not timed
    keeper.up(options.dir, [f"--dir={options.dir}", f"--kubernetes={options.kubernetes}"], _START_SECONDS)
    print(f"export KUBECONFIG={options.dir / 'credentials' / 'admin.kubeconfig'}")


def _keep(options: argparse.Namespace) -> None:
    keeper.keep(options.dir, _cluster(options))


def _cluster(options: argparse.Namespace) -> AbstractContextManager[object]:
    return ControlPlane.start(options.dir, kubernetes=options.kubernetes, audit=True)


def _down(options: argparse.Namespace) -> None:
    print("down" if keeper.down(options.dir) else f"no cluster is up in {options.dir}")


def _binaries(options: argparse.Namespace) -> None:
    for name in binaries.CONTROL_PLANE:
        print(binaries.binary(name, options.kubernetes), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

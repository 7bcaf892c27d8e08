"""The command line of the test cluster: `python -m tests.cluster up|down|...`; holds no logic of its own."""

import argparse
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from tests.cluster import binaries, images, keeper, kind, versions
from tests.cluster.containerd import PAUSE_IMAGE
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError
from tests.cluster.machine import install_packages, remove_leftovers
from tests.cluster.start import reload_images, start_cluster

_START_SECONDS = 900  # loading the trainer's image into an empty store

# What `binaries --profile` builds. The integration tests try the CRD on the oldest API server too.
_PROFILES = {
    "integration": [(name, version) for version in ("newest", "oldest") for name in binaries.CONTROL_PLANE],
    "node": [(name, "oldest") for name in binaries.NODE],
    "benchmarks": [(name, "newest") for name in (*binaries.CONTROL_PLANE, "kube-scheduler", "kwok")],
}


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
        ("images", _images, "build the images from the Dockerfiles, and load them into the cluster that is up"),
    ):
        sub = commands.add_parser(name, help=text)
        sub.set_defaults(command=command)
        sub.add_argument("--dir", type=Path, default=versions.cache_directory() / "cluster")
        sub.add_argument("--kubernetes", help="newest, oldest or a version (without a node newest, with one oldest)")
        sub.add_argument("--node", action="store_true", help="with a real node; needs root, or Docker for kind")
        sub.add_argument("--nodes", type=int, choices=(1, 2, 3), default=1, help="how many nodes")
        if command is _binaries:
            sub.add_argument("--profile", choices=sorted(_PROFILES), help="all that a group of tests needs")
    return parser


def _up(options: argparse.Namespace) -> None:
    if _on_kind(options):
        print(f"export KUBECONFIG={kind.up(options.dir, options.nodes, list(images.DOCKERFILES)).kubeconfig}")
        return
    _binaries(options)  # first, so that what takes minutes is seen and not timed
    arguments = [f"--dir={options.dir}", f"--kubernetes={_version(options)}"]
    if options.node:
        _images(options)
        arguments += ["--node", f"--nodes={options.nodes}"]
    keeper.up(options.dir, arguments, _START_SECONDS)
    print(f"export KUBECONFIG={options.dir / 'credentials' / 'admin.kubeconfig'}")


def _keep(options: argparse.Namespace) -> None:
    keeper.keep(options.dir, _cluster(options))


def _cluster(options: argparse.Namespace) -> AbstractContextManager[object]:
    if not options.node:
        return ControlPlane.start(options.dir, kubernetes=_version(options), audit=True)
    names = [*images.DOCKERFILES, images.BASE]
    return start_cluster(options.dir, nodes=options.nodes, images=names, kubernetes=_version(options))


def _down(options: argparse.Namespace) -> None:
    found = keeper.down(options.dir) or kind.down(options.dir)
    remove_leftovers()
    print("down" if found else f"no cluster is up in {options.dir}")


def _binaries(options: argparse.Namespace) -> None:
    names = binaries.NODE if options.node else binaries.CONTROL_PLANE
    wanted = [(name, _version(options)) for name in names]
    for name, version in _PROFILES.get(getattr(options, "profile", None), wanted):
        print(binaries.binary(name, version), file=sys.stderr)


def _images(options: argparse.Namespace) -> None:
    if _on_kind(options):
        return  # Docker keeps its own layers
    install_packages()
    built = images.build_images([PAUSE_IMAGE, *images.DOCKERFILES, images.BASE])
    for image in built:
        print(image.stored, file=sys.stderr)
    if reload_images(options.dir, built):
        print(f"loaded into the cluster in {options.dir}; new pods run them", file=sys.stderr)


def _version(options: argparse.Namespace) -> str:
    return options.kubernetes or ("oldest" if options.node else "newest")


def _on_kind(options: argparse.Namespace) -> bool:
    return options.node and kind.available()


if __name__ == "__main__":
    sys.exit(main())

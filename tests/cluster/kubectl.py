"""Runs kubectl and turns its failures into errors; knows no cluster but by its kubeconfig."""

import subprocess
from pathlib import Path

from tests.cluster.binaries import binary
from tests.cluster.errors import ClusterError


def kubectl(
    kubeconfig: Path, *arguments: str, kubernetes: str = "newest", stdin: str | None = None, check: bool = True
) -> str:
    """Run kubectl and return its standard output.

    Args:
        kubeconfig: whose cluster and user.
        arguments: of kubectl.
        kubernetes: kubectl's version.
        stdin: what `-f -` reads.
        check: whether a failure is an error.

    Raises:
        ClusterError: it failed and `check` is true; carries what it said.
    """
    command = [str(binary("kubectl", kubernetes)), f"--kubeconfig={kubeconfig}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    if check and done.returncode:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout

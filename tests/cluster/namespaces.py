"""Runs commands, on the host or inside the namespaces of a machine; makes no namespaces."""

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError

SCRIPT = Path(__file__).with_name("machine.sh")


@dataclass(frozen=True)
class Namespaces:
    """The way into a machine, for the process that made it and for others.

    Attributes:
        group: of the control groups that everything inside belongs to.
        pid: of the first process inside, as the host counts.
    """

    group: str
    pid: str

    def command(self, *command: str | Path) -> list[str | Path]:
        """Return the command line that runs a command inside."""
        return [SCRIPT, "enter", self.group, self.pid, *command]

    def run(self, *command: str | Path) -> str:
        """Run a command inside and return its output; ClusterError when it fails."""
        return run(*self.command(*command))

    def write(self, file: Path) -> None:
        """Leave the way for others."""
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: Path) -> "Namespaces":
        """Return what was written; FileNotFoundError where no machine is up."""
        return cls(**json.loads(file.read_text()))


def run(*command: str | Path) -> str:
    """Run a command and return its output; ClusterError with what it said when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ClusterError(f"`{' '.join(str(part) for part in command)}` failed: {said}")
    return done.stdout

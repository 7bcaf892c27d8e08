"""The Linux namespaces that the nodes live in, and their network; starts nothing of Kubernetes.

Everything a node does to the kernel happens inside: killing the first process of the namespaces removes every
process, mount, bridge and iptables rule at once, also when the tests themselves are killed. Needs root.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.errors import ClusterError, MissingToolError
from tests.cluster.namespaces import SCRIPT, Namespaces, run
from tests.cluster.process import Process
from tests.cluster.waiting import until

# program -> Debian package
_NEEDED = {
    "containerd": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "unshare": "util-linux",
    "buildah": "buildah",
    "containers-storage": "containers-storage",
    "debootstrap": "debootstrap",
}
_CNI_DIRECTORIES = ("/usr/lib/cni", "/opt/cni/bin")
MACHINE = "machine"  # the directory of a cluster's machine
WAY_IN = "namespaces.json"  # where a started machine leaves the way in
_GROUPS = "finetune-"
_NETWORKS = range(200, 250)  # 10.200.0.0/16 to 10.249.0.0/16; the first that the host does not use


def install_packages() -> None:
    """Install what a node needs from the distribution, where it is missing and apt-get is there.

    Raises:
        MissingToolError: not root, not Linux, or no apt-get; names the packages.
    """
    missing = sorted({package for program, package in _NEEDED.items() if not shutil.which(program)})
    if not any(Path(directory, "bridge").exists() for directory in _CNI_DIRECTORIES):
        missing.append("containernetworking-plugins")
    if os.name != "posix" or os.geteuid() != 0:
        raise MissingToolError("a node needs root on Linux: run this as root, or start a Docker engine for kind")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise MissingToolError(f"a node needs the packages {', '.join(missing)}: install them")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise MissingToolError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-1000:]}")


def cni_directory() -> Path:
    """Return where the CNI plugins are."""
    return next(Path(one) for one in _CNI_DIRECTORIES if Path(one, "bridge").exists())


class Machine:
    """Namespaces with a network of their own, joined to the host by a pair of virtual interfaces.

    Make one with `Machine.start`.

    Attributes:
        address: the host's side, where the API server listens; pods reach it.
        node_address: the other side, the address of every node.
        inside: the way in, once started.
    """

    inside: Namespaces

    def __init__(self, directory: Path) -> None:
        number = _free_network()
        self._interface = f"finetune{number}"
        self._network = f"10.{number}"
        self._group = f"{_GROUPS}{number}-{os.getpid()}"
        self.address = f"{self._network}.0.1"
        self.node_address = f"{self._network}.0.2"
        self.pod_range = f"{self._network}.0.0/16"
        self._logs = directory / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._way_in = directory / WAY_IN
        self._ready = directory / "machine-ready"
        self._ready.unlink(missing_ok=True)
        self._programs: list[Process] = []
        self._holder = Process(
            "machine",
            [SCRIPT, "hold", self._group, self._ready],
            self._logs / "machine.log",
            ready=self._ready.exists,
        )

    def subnet(self, node: int) -> str:
        """Return the pod addresses of a node, counted from 1."""
        return f"{self._network}.{node}.0/24"

    @classmethod
    @contextmanager
    def start(cls, directory: Path) -> Iterator["Machine"]:
        """Make the namespaces and the network, and remove them at the end of the block."""
        remove_leftovers()
        machine = cls(directory)
        try:
            machine._start()
            yield machine
        finally:
            machine._stop()

    def _start(self) -> None:
        self._holder.start()
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self.inside = Namespaces(self._group, children.read_text().split()[0])
        self.inside.write(self._way_in)
        peer = ("peer", "name", "eth0", "netns", self.inside.pid)
        run("ip", "link", "add", self._interface, "type", "veth", *peer)
        run("ip", "addr", "add", f"{self.address}/24", "dev", self._interface)
        run("ip", "link", "set", self._interface, "up")
        self.inside.run("ip", "addr", "add", f"{self.node_address}/24", "dev", "eth0")
        self.inside.run("ip", "link", "set", "eth0", "up")
        self.inside.run("ip", "route", "add", "default", "via", self.address)
        run("ip", "route", "add", self.pod_range, "via", self.node_address)

    def _stop(self) -> None:
        for program in self._programs:
            program.kill()
        self._holder.kill()
        self._way_in.unlink(missing_ok=True)
        # The kernel keeps the network as long as it repeats the last packet of a connection whose other end was killed
        # as well, which can take a minute. Where it has gone already, there is nothing to delete.
        subprocess.run(["ip", "link", "delete", self._interface], capture_output=True)
        until(lambda: self._interface not in _interfaces(), "the network interface to go")
        until(lambda: not self._clean(), "the control groups to empty")

    def process(
        self,
        name: str,
        command: Sequence[str | Path],
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Return a program that will run inside, not yet started."""
        program = Process(
            name, self.inside.command(*command), self._logs / f"{name}.log", ready=ready, environment=environment
        )
        self._programs.append(program)
        return program

    def _clean(self) -> bool:
        """Try to remove the control groups; return whether some are left."""
        return not _clean(self._group)


def remove_leftovers() -> None:
    """Remove the empty control groups of clusters whose process was killed; the kernel removed the rest."""
    for group in {path.name for path in Path("/sys/fs/cgroup").glob(f"*/{_GROUPS}*-*")}:
        if not Path("/proc", group.rpartition("-")[2]).exists():
            _clean(group)


def _clean(group: str) -> bool:
    return subprocess.run([SCRIPT, "clean", group], capture_output=True).returncode == 0


def _interfaces() -> list[str]:
    return [interface["ifname"] for interface in json.loads(run("ip", "-json", "link"))]


def _free_network() -> int:
    taken = run("ip", "-4", "route", "show", "table", "all")
    for number in _NETWORKS:
        if f"10.{number}." not in taken and f"finetune{number}" not in _interfaces():
            return number
    raise ClusterError("no network of 10.200.0.0/16 to 10.249.0.0/16 is free: run `down` on other clusters")

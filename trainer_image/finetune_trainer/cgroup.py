"""How often the kernel killed a process of this container for memory. Reads cgroup v1 and v2, changes nothing."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def oom_kills(root: Path = _ROOT, membership: Path = Path("/proc/self/cgroup")) -> int:
    """The count of oom_kill in this process's cgroup; 0 where it cannot be read."""
    v2, v1 = "", ""
    try:
        for line in membership.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                v2 = path
            elif "memory" in controllers.split(","):
                v1 = path
    except (OSError, ValueError):
        pass
    # In a container the cgroup's own root is mounted, outside of one the path of the membership applies.
    for file in (
        root / v2.lstrip("/") / "memory.events",
        root / "memory.events",
        root / "memory" / v1.lstrip("/") / "memory.oom_control",
        root / "memory" / "memory.oom_control",
    ):
        count = _count(file)
        if count is not None:
            return count
    return 0


def _count(file: Path) -> int | None:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return None

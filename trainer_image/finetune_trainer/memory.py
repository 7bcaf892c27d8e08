"""How much memory this container may still take. Reads the kernel's figures, cgroup v1 and v2; changes nothing."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60


def available_bytes(root: Path = _ROOT, machine: Path = Path("/proc/meminfo")) -> int:
    """Bytes until the container's limit or the machine's end, whichever is nearer; what can be taken back at once (the
    cache of files) counts as free. 0 where nothing is known."""
    return min(_machine_available(machine), *_left_in_cgroup(root))


def _machine_available(meminfo: Path) -> int:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)


def _left_in_cgroup(root: Path) -> tuple[int, ...]:
    files = (
        (root / "memory.max", root / "memory.current", root / "memory.stat", "inactive_file"),
        (
            root / "memory" / "memory.limit_in_bytes",
            root / "memory" / "memory.usage_in_bytes",
            root / "memory" / "memory.stat",
            "total_inactive_file",
        ),
    )
    return tuple(_left(*group) for group in files)


def _left(limit_file: Path, usage_file: Path, statistics: Path, cached: str) -> int:
    try:
        limit = int(limit_file.read_text(encoding="ascii"))
        usage = int(usage_file.read_text(encoding="ascii"))
        fields = dict(line.split(" ", 1) for line in statistics.read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # no such cgroup, or `max`
        return _UNLIMITED
    return max(0, limit - usage + int(fields.get(cached, 0)))

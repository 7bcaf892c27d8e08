"""How many GPUs this machine offers, found without loading any library of theirs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_NVIDIA = Path("/proc/driver/nvidia/gpus")
_AMD = Path("/sys/class/kfd/kfd/topology/nodes")


def gpus(environment: Mapping[str, str] = os.environ, nvidia: Path = _NVIDIA, amd: Path = _AMD) -> int:
    """GPUs that a process with this environment sees. Apple's is not counted: the trainer finds it by itself."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    present = _entries(nvidia) or _amd_gpus(amd)
    if visible is None:
        return present
    chosen = [device for device in visible.split(",") if device.strip() not in ("", "-1")]
    return min(len(chosen), present)


def _entries(directory: Path) -> int:
    return len(list(directory.iterdir())) if directory.is_dir() else 0


def _amd_gpus(nodes: Path) -> int:
    """Nodes of the topology that have vector units; the others are CPUs."""
    found = 0
    for properties in nodes.glob("*/properties"):
        try:
            lines = dict(line.split(maxsplit=1) for line in properties.read_text().splitlines() if " " in line)
        except OSError:
            continue
        found += lines.get("simd_count", "0").strip() != "0"
    return found

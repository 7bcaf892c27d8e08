"""Where the volumes of a pod lie on this machine; starts nothing and reads no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from finetune_operator.errors import NotFoundError


@dataclass(frozen=True)
class Directories:
    """The directories that a person gave for what lies on a cluster elsewhere."""

    output: Path
    """The volume of every claim that has no directory of its own: results go below `<output>/<job>/`."""
    claims: Mapping[str, Path] = field(default_factory=dict)
    config_maps: Mapping[str, Path] = field(default_factory=dict)

    def claim(self, name: str) -> Path:
        return self.claims.get(name, self.output)

    def state(self, job: str) -> Path:
        """Where the object itself, the log of each attempt and the lock are kept."""
        return self.output / ".finetune" / job


@dataclass(frozen=True)
class MountedPaths:
    """Paths inside a pod and what they are here."""

    mounts: Mapping[PurePosixPath, Path]

    @classmethod
    def of(cls, pod_spec: Mapping[str, Any], directories: Directories, scratch: Path) -> MountedPaths:
        """The mounts of a pod's first container. What is an emptyDir in a pod lies below `scratch`.

        Raises NotFoundError for a ConfigMap without a directory.
        """
        volumes = {volume["name"]: volume for volume in pod_spec.get("volumes") or ()}
        mounts: dict[PurePosixPath, Path] = {}
        for mount in pod_spec["containers"][0].get("volumeMounts") or ():
            source = _source(volumes[mount["name"]], directories, scratch)
            mounts[PurePosixPath(mount["mountPath"])] = source / mount["subPath"] if "subPath" in mount else source
        return cls(mounts)

    def here(self, path: str) -> Path | None:
        """The local path of a path in the pod; None when it lies on no mount."""
        inside = PurePosixPath(path)
        for mount in sorted(self.mounts, key=lambda place: len(place.parts), reverse=True):
            if inside == mount or mount in inside.parents:
                return self.mounts[mount] / inside.relative_to(mount)
        return None

    def translate(self, path: str) -> str:
        """The local path, or the same text where it lies on no mount."""
        found = self.here(path)
        return path if found is None else str(found)


def _source(volume: Mapping[str, Any], directories: Directories, scratch: Path) -> Path:
    if "persistentVolumeClaim" in volume:
        return directories.claim(volume["persistentVolumeClaim"]["claimName"])
    if "configMap" in volume:
        name = volume["configMap"]["name"]
        if name not in directories.config_maps:
            raise NotFoundError(f"there is no directory for ConfigMap {name}", 404)
        return directories.config_maps[name]
    return scratch / str(volume["name"])

"""Which version of everything the test cluster runs; the only place where these are written."""

import os
from pathlib import Path

# The newest minor that can be built is what integration tests run against.
NEWEST = "1.36.3"
# The oldest supported minor, whose API server has to accept the same CRD. It is also what the node runs,
# because its kubelet is the last that starts on a host with version 1 control groups.
OLDEST = "1.34.4"

ETCD = "3.6.5"
COREDNS = "1.12.4"
KWOK = "0.7.0"

# What a person may write for a version on the command line and in `ControlPlane.start`.
NAMED = {"newest": NEWEST, "oldest": OLDEST}


def kubernetes_version(name: str) -> str:
    """Return the full version, without a leading v, for `newest`, `oldest` or a version."""
    return NAMED.get(name, name.removeprefix("v"))


def cache_directory() -> Path:
    """Return where binaries, image archives and node content are kept between runs."""
    return Path(os.environ.get("FINETUNE_CACHE") or "~/.cache/finetune-operator").expanduser()

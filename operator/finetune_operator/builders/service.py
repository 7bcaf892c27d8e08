"""The headless Service by which the ranks of several nodes find the first."""

from __future__ import annotations

from typing import Any

from .. import names
from .attempt import Attempt

MASTER_PORT = 29500  # torchrun's own default


def build(attempt: Attempt) -> dict[str, Any]:
    """A headless Service; names resolve before pods are ready, since no rank is until it has met the others."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": attempt.metadata(names.service_name(attempt.name)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {names.JOB_LABEL: attempt.name},
            "ports": [{"name": "torchrun", "port": MASTER_PORT, "protocol": "TCP"}],
        },
    }

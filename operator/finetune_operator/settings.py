"""The settings of the operator's process, from FINETUNE_* environment variables; decides nothing.

Nested names are joined by two underscores: FINETUNE_PLATFORM__STORAGE_SIZE=50Gi. Lists are JSON.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from finetune_api.v1alpha1.defaults import PlatformDefaults

# Private, link-local (where clouds serve credentials), loopback, shared and documentation ranges.
_BLOCKED = (
    "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "fc00::/7", "fe80::/10",
)  # fmt: skip


class Settings(BaseSettings):
    """What the platform's owner chooses. Every field has a default with which a trial works."""

    model_config = SettingsConfigDict(
        env_prefix="FINETUNE_", env_nested_delimiter="__", use_attribute_docstrings=True, frozen=True
    )

    namespaces: list[str] = []
    """The namespaces that are served; none means all of them."""
    operator_namespace: str = "finetune-system"
    """Where the Lease lies and whence pods are asked for progress."""
    identity: str = Field(default_factory=socket.gethostname)
    """Who holds the Lease. The pod's name: a restarted container goes on at once."""
    lease: bool = True
    """Wait for the Lease before working. Off only where there can be but one operator."""
    lease_name: str = "finetune-operator"
    kubeconfig: Path | None = None
    """Connect with this file; without it the pod's own credentials, then KUBECONFIG, then ~/.kube/config."""
    resync_seconds: Annotated[float, Field(ge=1)] = 900.0
    """Seconds between listings of everything: a watch may have lost something."""
    workers: Annotated[int, Field(ge=1, le=256)] = 32
    """Jobs that are reconciled at the same time."""
    probe_host: str = "0.0.0.0"
    probe_port: int = 8081
    """Serves /healthz, /readyz and /metrics."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    trainer_image: str = "finetune-trainer:0.1.0"
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    run_as_user: int | None = None
    """User of the trainer's pods; None leaves it to the image (and to OpenShift)."""
    run_as_group: int | None = None
    fs_group: int | None = 1000
    """Group of the volumes; None on OpenShift."""
    platform: PlatformDefaults = PlatformDefaults()
    network_policy: bool = True
    """Make a NetworkPolicy for each job."""
    blocked_ranges: list[IPv4Network | IPv6Network] = [IPv6Network(r) if ":" in r else IPv4Network(r) for r in _BLOCKED]
    """Where jobs that use the hub may not go."""
    monitoring_namespaces: list[str] = ["monitoring"]
    """Whence Prometheus may scrape the trainers."""

    progress: Literal["Auto", "Direct", "Proxy"] = "Auto"
    """How trainers are reached: by the pod's address or through the API server. Auto: Direct inside the cluster."""
    progress_per_second: float = 20.0
    """Progress writes of the whole fleet."""

    allow_remote_code: bool = False
    """Allow model.trustRemoteCode."""
    allow_user_code: bool = False
    """Allow scripts and reward functions of the users' own."""
    allowed_images: list[str] = []
    """Prefixes of the images that compute.image may name; none means all."""
    allowed_hub_owners: list[str] = []
    """Owners of hub repositories that jobs may use; none means all."""
    maximum_gpus_per_job: int | None = None

"""Gives the integration tests their control plane; holds no test."""

from tests.cluster.fixtures import api, apply, control_plane, namespace, pods

__all__ = ["api", "apply", "control_plane", "namespace", "pods"]

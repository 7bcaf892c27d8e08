"""Kubernetes as far as one job needs it: objects in memory, attempts as processes, claims as directories."""

from .client import LocalKube
from .volumes import Directories

__all__ = ["Directories", "LocalKube"]

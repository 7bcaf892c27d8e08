"""The CustomResourceDefinition, as a plain object. It is written to crds/ by the project's generator, not from here."""

from __future__ import annotations

from typing import Any

from . import GROUP, KIND, PLURAL, VERSION
from .schema import openapi_schema


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False) -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": path, "priority": 1 if wide else 0}


PRINTER_COLUMNS = [
    _column("Phase", ".status.phase"),
    _column("Progress", ".status.progress.summary"),
    _column("Loss", ".status.progress.loss", "number"),
    _column("ETA", ".status.progress.eta"),
    _column("Restarts", ".status.restarts.total", "integer"),
    _column("Age", ".metadata.creationTimestamp", "date"),
    _column("Method", ".status.effective.method", wide=True),
    _column("Model", ".status.effective.model", wide=True),
    _column("GPUs", ".status.effective.gpus", "integer", wide=True),
    _column("Queue", r".metadata.labels.kueue\.x-k8s\.io/queue-name", wide=True),
]


def custom_resource_definition() -> dict[str, Any]:
    """The whole definition, with one version that is served and stored."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["ftj"],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": PRINTER_COLUMNS,
                    "schema": {"openAPIV3Schema": openapi_schema()},
                }
            ],
        },
    }

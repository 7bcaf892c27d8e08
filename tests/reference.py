"""The resource reference as Markdown, from the models, their defaults and their rules. generate.py writes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from finetune_api.v1alpha1.defaults import PlatformDefaults, resolve
from finetune_api.v1alpha1.judgement import nested_models
from finetune_api.v1alpha1.rules.catalogue import rules_of
from finetune_api.v1alpha1.rules.changes import ALWAYS_MUTABLE, MUTABLE_WHILE_SUSPENDED
from finetune_api.v1alpha1.schema import openapi_schema
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.support import NOT_YET_SUPPORTED

Schema = dict[str, Any]

HEAD = """# The FineTuneJob resource

Generated from the models in `operator/finetune_api` by `make crds`. `finetune.dev/v1alpha1`, namespaced, short name
`ftj`.

A field that is not written has the default of this table; what a job really runs with, and why, is in
`status.effective`. A null counts as not written. A field that has no effect in its combination is refused. Defaults
in italics depend on other fields, on the platform's settings, or on what the trainer finds.
"""
DEPENDENT = {
    "tuning.alpha": "twice the rank",
    "tuning.targetModules": "all linear layers",
    "hyperparameters.learningRate": "by method and tuning type: SFT with LoRA 0.0002, with Full 2e-05",
    "hyperparameters.packing": "on where the attention keeps examples apart",
    "hyperparameters.loss": "by the format of the data",
    "hyperparameters.gradientCheckpointing": "true, except with PrefixTuning",
    "dataset.split": "5 % validation from 100 examples on",
    "dataset.seed": "the seed of hyperparameters",
    "checkpoint.everyMinutes": "10, or 20 times as long as a save takes",
    "compute.cpu": "the platform's, for each GPU",
    "compute.memory": "the platform's, for each GPU",
    "compute.image": "the operator's",
    "storage": "a claim made with the platform's size",
    "storage.accessMode": "ReadWriteOnce, for several nodes ReadWriteMany",
    "storage.size": "the platform's",
    "storage.storageClassName": "the platform's",
    "preference.beta": "0.1",
    "preference.lossType": "sigmoid",
    "preference.labelSmoothing": "0.0",
    "reinforcement.maxPromptLength": "512",
    "reinforcement.maxCompletionLength": "256",
    "reinforcement.temperature": "1.0",
    "reinforcement.klCoefficient": "PPO and RLOO 0.05, GRPO 0.0",
    "reinforcement.generations": "8",
}
MINIMAL = {
    "model": {"claim": {"name": "models"}},
    "dataset": {"sources": [{"claim": {"name": "data"}}]},
}


def reference_text() -> str:
    """The whole page."""
    schema = openapi_schema()
    resolved = resolve(FineTuneJobSpec.model_validate(MINIMAL), PlatformDefaults(storage_size="1Gi")).spec.dump()
    parts = [HEAD]
    parts += _section("spec", FineTuneJobSpec, schema["properties"]["spec"], resolved)
    seen: set[str] = set()
    for path, model, inner in _objects("", FineTuneJobSpec, schema["properties"]["spec"]):
        if model.__name__ not in seen:
            seen.add(model.__name__)
            parts += _section(f"spec.{path}", model, inner, _at(resolved, path))
    parts += [_changes(), _support()]
    parts += _status(schema["properties"]["status"])
    return "\n".join(parts)


def _objects(at: str, model: type[BaseModel], schema: Schema) -> Iterator[tuple[str, type[BaseModel], Schema]]:
    """Every object below a model: its path, its model and its schema."""
    for name, part in nested_models(model).items():
        inner = schema["properties"][name]
        path = f"{at}.{name}".removeprefix(".") + ("[]" if inner["type"] == "array" else "")
        inner = inner.get("items", inner)
        yield path, part, inner
        yield from _objects(path, part, inner)


def _section(path: str, model: type[BaseModel], schema: Schema, defaults: Any) -> list[str]:
    lines = [f"## {path}", "", " ".join((model.__doc__ or "").split()), ""]
    lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, inner in schema["properties"].items():
        full = f"{path}.{name}".removeprefix("spec.")
        default = "required" if name in schema.get("required", ()) else _default(full, name, defaults)
        lines.append(f"| `{name}` | {_type(inner)} | {default} | {_cell(inner.get('description', ''))} |")
    rules = [rule.message for rule in rules_of(model)]
    if rules:
        lines += ["", "Refused otherwise:", "", *(f"- {message}" for message in rules)]
    return [*lines, ""]


def _default(full: str, name: str, defaults: Any) -> str:
    if full in DEPENDENT:
        return f"*{DEPENDENT[full]}*"
    value = defaults.get(name) if isinstance(defaults, dict) else None
    if value is None or isinstance(value, dict | list):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    return f"{schema['type']}{_bounds(schema)}"


def _bounds(schema: Schema) -> str:
    if schema["type"] not in ("integer", "number"):
        return ""
    low, high = schema.get("minimum"), schema.get("maximum")
    parts = []
    if low is not None:
        parts.append(f"{'above' if schema.get('exclusiveMinimum') else 'from'} {low}")
    if high is not None and high < 2**32 - 1:
        parts.append(f"{'below' if schema.get('exclusiveMaximum') else 'to'} {high}")
    return f" {' '.join(parts)}" if parts else ""


def _changes() -> str:
    always = ", ".join(f"`{name}`" for name in ALWAYS_MUTABLE)
    suspended = ", ".join(f"`{name}`" for name in MUTABLE_WHILE_SUSPENDED)
    return (
        f"## What may be changed\n\nAlways: {always} (`cancel` only to true). While Suspended: {suspended}."
        "\nAll else never: delete the job and apply it again.\n"
    )


def _support() -> str:
    lines = ["## Not yet supported", "", "Refused with `Accepted=False`, reason `NotYetSupported`:", ""]
    for entry in NOT_YET_SUPPORTED:
        values = f": {', '.join(f'`{value}`' for value in entry.values)}" if entry.values else ""
        lines.append(f"- `{entry.field}`{values}")
    return "\n".join([*lines, ""])


def _status(schema: Schema) -> list[str]:
    lines = ["## status", "", "Written by the operator alone.", "", "| field | type | meaning |", "|---|---|---|"]
    for name, inner in schema["properties"].items():
        lines += _status_rows(name, inner)
    return [*lines, ""]


def _status_rows(path: str, schema: Schema) -> Iterator[str]:
    shown = "list of objects" if schema["type"] == "array" and "properties" in schema["items"] else _type(schema)
    yield f"| `{path}` | {shown} | {_cell(schema.get('description', ''))} |"
    inner = schema.get("items", schema)
    for name, part in inner.get("properties", {}).items():
        yield from _status_rows(f"{path}{'[]' if schema['type'] == 'array' else ''}.{name}", part)


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

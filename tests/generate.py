"""Writes what is generated from the models: the CRD and the reference. `make crds` runs it; tests only compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from finetune_api.v1alpha1.crd import custom_resource_definition
from tests.reference import reference_text

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"
CRD = ROOT / "crds" / "finetune.dev_finetunejobs.yaml"


class _Dumper(yaml.SafeDumper):
    """Writes no anchors, and lists under their key."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def crd_text() -> str:
    """The CRD as YAML."""
    body = yaml.dump(custom_resource_definition(), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    return f"# Generated from operator/finetune_api by `make crds`; edit the models instead.\n{body}"


def generated() -> dict[Path, str]:
    """Every generated file with its content."""
    return {CRD: crd_text(), REFERENCE: reference_text()}


def main() -> None:
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()

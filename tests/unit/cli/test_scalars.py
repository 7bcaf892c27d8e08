"""Scalars mean what kubectl takes them for; the expected values are the output of sigs.k8s.io/yaml 1.6."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_cli.errors import ManifestError
from finetune_cli.manifest import parse

AS_KUBECTL = [
    ("y", True), ("Y", True), ("yes", True), ("on", True), ("TRUE", True), ("off", False), ("n", False), ("No", False),
    ("2e-4", 0.0002), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("+3", 3), ("1_000", 1000), ("1_0.5", 10.5),
    ("0x10", 16), ("010", 8), ("0o10", 8), ("0b11", 3), ("-0b1", -1), ("08", 8.0),
    ("1:30", "1:30"), ("2001-01-01", "2001-01-01"), ("=", "="), ("._5", "._5"), ("1e400", "1e400"),
    ("~", None), ("null", None), ('"on"', "on"), ("'2e-4'", "2e-4"), ('""', ""),
    ("!!str 5", "5"), ("!!float 3", 3.0),
]  # fmt: skip


@pytest.mark.parametrize(("written", "meant"), AS_KUBECTL)
def test_a_scalar_means_what_kubectl_takes_it_for(written: str, meant: Any) -> None:
    value = parse(f"a: {written}")[0].value["a"]

    assert value == meant
    assert type(value) is type(meant)


@pytest.mark.parametrize(("written", "name"), [("on", "true"), ("no", "false"), ("1", "1"), ("2e-4", "0.0002")])
def test_a_key_gets_the_name_that_kubectl_gives_it(written: str, name: str) -> None:
    assert parse(f"{written}: x")[0].value == {name: "x"}


@pytest.mark.parametrize("written", [".inf", "-.Inf", ".nan"])
def test_a_number_that_json_has_not_is_refused_with_its_line(written: str) -> None:
    with pytest.raises(ManifestError, match=r"job\.yaml:2: .*finite"):
        parse(f"a: 1\nb: {written}", "job.yaml")

"""Wrong manifests at `kubectl apply`: refused by the API server, with the field and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.manifests import a_manifest
from tests.cluster.errors import ClusterError
from tests.e2e.jobs import Jobs
from tests.e2e.side_by_side import BESIDE

pytestmark = BESIDE

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a mistyped field": (
        {"hyperparameters": {"learningrate": 2e-4}},
        r'unknown field "spec\.hyperparameters\.learningrate"',
    ),
    "a word that is none of the choices": (
        {"method": "Sft"},
        r'spec\.method: Unsupported value: "Sft": supported values: "SFT", "ContinuedPretraining"',
    ),
    "two fields that exclude each other": (
        {"hyperparameters": {"epochs": 2, "maxSteps": 10}},
        r"spec\.hyperparameters: .*epochs and maxSteps exclude each other: write only one of them",
    ),
    "a field without effect": (
        {"preference": {"beta": 0.1}},
        r"preference has no effect here: it goes with method DPO, KTO or ORPO; leave it out or change method",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_manifest_is_refused_by_name_and_with_the_mend(jobs: Jobs, wrong: str) -> None:
    spec, said = WRONG[wrong]
    with pytest.raises(ClusterError, match=said):
        jobs.apply(a_manifest().with_spec(**spec))

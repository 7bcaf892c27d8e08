"""Every rule across fields has a job that keeps it and one that breaks it, and says what to write instead."""

import pytest

from finetune_api.v1alpha1.judgement import broken_rules
from finetune_api.v1alpha1.rules.catalogue import RULES
from finetune_api.v1alpha1.validation import InvalidJob, parse_job, validate
from tests.unit.api.examples import EXAMPLES, RIGHT_NAMES, WRONG_NAMES, Example, a_job, named


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_job_that_keeps_the_rule_is_accepted(example: Example) -> None:
    assert validate(example.accepted) == []


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_job_that_breaks_the_rule_is_told_so(example: Example) -> None:
    assert example.said in "\n".join(str(problem) for problem in validate(example.refused))


def test_every_rule_has_an_example_that_breaks_it() -> None:
    wrong = [*(example.refused for example in EXAMPLES), *map(named, WRONG_NAMES)]
    broken = {rule.message for document in wrong for _, rule in broken_rules(document)}
    assert {rule.message for rules in RULES.values() for rule in rules} - broken == set()


@pytest.mark.parametrize("name", RIGHT_NAMES)
def test_a_name_that_can_be_a_host_name_is_accepted(name: str) -> None:
    assert validate(named(name)) == []


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_name_that_cannot_be_a_host_name_is_refused(name: str) -> None:
    assert [problem.field for problem in validate(named(name))] == ["metadata.name"]


def test_a_generated_name_is_judged_as_it_will_be() -> None:
    assert validate({**a_job(), "metadata": {"generateName": "run-"}}) == []
    assert validate({**a_job(), "metadata": {"generateName": "Run-"}}) != []
    assert validate({**a_job(), "metadata": {}}) != []


def test_all_problems_are_told_at_once_with_their_fields() -> None:
    document = a_job(**{"tuning": {"type": "Full", "rank": 8}, "dataset.fromat": "Text", "hyperparameters.epochs": 0})
    problems = {problem.field: problem.message for problem in validate(document)}
    assert problems["spec.dataset.fromat"] == "there is no such field: write format"
    assert set(problems) == {"spec.tuning.rank", "spec.dataset.fromat", "spec.hyperparameters.epochs"}


def test_a_rule_says_nothing_about_a_field_that_is_wrong_already() -> None:
    problems = validate(a_job(tuning={"type": "lora", "rank": 8}))
    assert [problem.field for problem in problems] == ["spec.tuning.type"]
    assert "write LoRA" in problems[0].message


@pytest.mark.parametrize("nothing", [None, [], "text", 3, {}, {"spec": None}, {"metadata": 3, "spec": []}])
def test_what_is_no_job_at_all_is_refused_without_an_error(nothing: object) -> None:
    assert validate(nothing) != []


def test_a_refused_job_carries_its_problems() -> None:
    with pytest.raises(InvalidJob, match=r"spec\.model: write exactly one of hub, claim and job") as caught:
        parse_job(a_job(model={}))
    assert [problem.field for problem in caught.value.problems] == ["spec.model"]


def test_a_null_counts_as_not_written() -> None:
    job = parse_job(a_job(tuning=None, hyperparameters={"epochs": None, "maxSteps": 3.0}))
    assert job.spec.dump()["hyperparameters"] == {"maxSteps": 3}
    assert "tuning" not in job.spec.dump()

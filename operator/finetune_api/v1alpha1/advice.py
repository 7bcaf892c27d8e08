"""Warnings about what can work but seldom does well. What can never work is refused by the rules instead."""

from __future__ import annotations

from .defaults import resolve
from .limits import learning_rate
from .spec import FineTuneJobSpec

MAXIMUM_WARNINGS = 10
LARGEST_USUAL_DEVICE_BATCH = 64
MOST_USUAL_EPOCHS = 10
LARGEST_USUAL_RANK = 128


def warnings(spec: FineTuneJobSpec) -> list[str]:
    """At most ten sentences, each with the field, what is unusual and what to do instead.

    Too few examples is the trainer's to say: it alone counts them.
    """
    document = resolve(spec).spec.dump()
    values, tuning = document["hyperparameters"], document["tuning"]
    found: list[str] = []
    rate, usual = values["learningRate"], learning_rate(document["method"], tuning["type"])
    if not usual.lowest <= rate <= usual.highest:
        found.append(
            f"spec.hyperparameters.learningRate: {rate:g} is outside the usual {usual.lowest:g} to {usual.highest:g} "
            f"for {document['method']} with {tuning['type']}; leave it out for {usual.default:g}"
        )
    if values["perDeviceBatchSize"] > LARGEST_USUAL_DEVICE_BATCH:
        found.append(
            f"spec.hyperparameters.perDeviceBatchSize: {values['perDeviceBatchSize']} on one device seldom fits; write "
            f"at most {LARGEST_USUAL_DEVICE_BATCH} and raise gradientAccumulationSteps for the same effective batch"
        )
    if values.get("epochs", 0) > MOST_USUAL_EPOCHS:
        found.append(
            f"spec.hyperparameters.epochs: more than {MOST_USUAL_EPOCHS} epochs mostly learn the examples by heart; "
            "write 1 to 3, or set evaluation.earlyStopping"
        )
    if tuning.get("rank", 0) > LARGEST_USUAL_RANK:
        found.append(
            f"spec.tuning.rank: {tuning['rank']} costs memory and seldom learns more than {LARGEST_USUAL_RANK}; write "
            "8 to 64, or use tuning.type Full"
        )
    return found[:MAXIMUM_WARNINGS]

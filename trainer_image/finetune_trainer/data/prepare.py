"""Prepares the data of a job from its sources to rows of tokens. The only part that the recipes call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_api.trainer_contract import TrainerConfig
from finetune_api.v1alpha1.dataset import DataSource

from ..errors import ConfigError, DataError
from .cache import Waiting, file_identity, obtain
from .hub import commit_of
from .identity import digest
from .places import files_of
from .sample import render_sample
from .selection import SIDES, Selection, select
from .sources import SourceExamples, SourceReader, revision_key
from .split import Side
from .templates import Template, job_template, template_for
from .tokenise import Tokenising

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

_LAYOUT = 2
"""Part of the cache's key; raised when the same input would be prepared differently."""
_FALLBACK_SEED = 42


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Data sets with the columns `input_ids` and `labels` (-100: not learnt), neither padded nor shuffled."""

    train: Dataset
    validation: Dataset | None
    test: Dataset | None
    fingerprint: str
    """Of all rows that were read, before cleaning and splitting: 32 hexadecimal digits."""
    warnings: list[str]
    sample: str
    """One decoded example with what is learnt in «», to be logged."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """train, validation, test to task (or source) to examples."""
    revisions: dict[str, str] = field(default_factory=dict)
    """Hub id (with `@revision` where one was asked for) to commit."""
    chat_template: str | None = None
    """The template that conversations went through; None where there were none."""


def prepare(
    config: TrainerConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    maximum_length: int,
    heartbeat: Callable[[int], None],
    run: int = 0,
    waiting: Waiting = nullcontext,
    cache_directory: Path | None = None,
    revisions: Mapping[str, str] | None = None,
) -> PreparedData:
    """Reads, checks, splits and tokenises the data of a job, or takes what an earlier call left in the cache.

    Every process of a job calls it; on each node one works and the others wait for its files. `maximum_length` is in
    tokens. `heartbeat` gets rising numbers of rows, `waiting` is entered while another process works.
    `cache_directory` is by default `cache/` in the directory of the
    run; `revisions` pins hub data sets to the commits of run.json. The tokenizer's chat_template is set to the one
    that was used, so that it is saved with the result.

    Raises UserError (DataError with file, line and column) where a person has to mend something, and TrainerError
    where the hub cannot be reached.
    """
    pinned = {**(revisions or {})}
    for source in _all_sources(config):
        if source.hub is not None:
            key = revision_key(source.hub)
            pinned[key] = commit_of(source.hub, pinned.get(key))
    of_job = job_template(config)
    template = template_for(tokenizer, of_job)
    entry_name = digest(_everything_that_matters(config, tokenizer, template, maximum_length, pinned))

    def build(directory: Path) -> dict[str, Any]:
        return _build(config, tokenizer, template, maximum_length, heartbeat, pinned, directory)

    directory = cache_directory or Path(config.mounts.output) / config.fingerprint / "cache"
    entry, record = obtain(directory / "data", entry_name, build, run=run, waiting=waiting)
    if record["chatTemplate"] is not None:
        tokenizer.chat_template = record["chatTemplate"]
    sides = {side: _open(entry / f"{side}.arrow") if side in record["rows"] else None for side in SIDES}
    train = sides["train"]
    assert train is not None, "an entry without training data is never written"
    return PreparedData(
        train,
        sides["validation"],
        sides["test"],
        fingerprint=record["fingerprint"],
        warnings=record["warnings"],
        sample=record["sample"],
        counts=record["counts"],
        revisions=record["revisions"],
        chat_template=record["chatTemplate"],
    )


def _open(path: Path) -> Dataset:
    from datasets import Dataset

    return Dataset.from_file(str(path))


def _build(
    config: TrainerConfig,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    maximum_length: int,
    heartbeat: Callable[[int], None],
    pinned: Mapping[str, str],
    directory: Path,
) -> dict[str, Any]:
    """Reads, selects and tokenises into `directory`; returns the record of what is there."""
    dataset, hyperparameters = config.spec.dataset, config.spec.hyperparameters
    pretraining = config.spec.method == "ContinuedPretraining"
    reader = SourceReader(dataset, config.mounts, pretraining, pinned, heartbeat)
    selection, formats = _selected(config, reader)
    tokenising = Tokenising(
        tokenizer,
        template,
        hyperparameters.loss if hyperparameters else None,
        pretraining,
        maximum_length,
        dataset.cleaning.max_tokens if dataset.cleaning else None,
        heartbeat,
        rows=reader.rows,
    )
    rows, sample = _written(selection, tokenising, directory)
    return {
        "rows": rows,
        "fingerprint": reader.fingerprint,
        "warnings": [*selection.warnings, *_warnings(selection, tokenising, formats)],
        "sample": sample,
        "counts": {side: dict(tasks) for side, tasks in selection.tasks.items() if tasks},
        "revisions": reader.revisions,
        "chatTemplate": template.text if _has_conversations(selection) else None,
    }


def _selected(config: TrainerConfig, reader: SourceReader) -> tuple[Selection, list[str]]:
    """The examples of each side, and the formats that the training sources have. Raises UserError."""
    dataset = config.spec.dataset
    training = [reader.read(source) for source in dataset.sources]
    held_out: dict[Side, list[SourceExamples]] = {}
    if dataset.validation is not None:
        held_out["validation"] = [reader.read(source) for source in dataset.validation.sources]
    if dataset.test is not None:
        held_out["test"] = [reader.read(source) for source in dataset.test.sources]
    formats = sorted({source.format for source in training})
    if formats == ["Text"] and (dataset.system_message or dataset.chat_template):
        raise ConfigError(
            "dataset.chatTemplate and dataset.systemMessage have no effect on plain text, which the data is.",
            "Take them out, or set dataset.format to what the rows are.",
        )
    return select(training, held_out, cleaning=dataset.cleaning, split=dataset.split, seed=_seed(config)), formats


def _written(selection: Selection, tokenising: Tokenising, directory: Path) -> tuple[dict[str, int], str]:
    """Writes a file for each side. Returns the rows of each, and one decoded example. Raises DataError."""
    rows: dict[str, int] = {}
    sample = ""
    for side in SIDES:
        if not selection.sides[side]:
            continue
        count, first = tokenising.write(selection.sides[side], directory / f"{side}.arrow")
        if first is None and side == "train":
            raise _nothing_learnt(tokenising.maximum_length)
        if first is None:
            selection.warnings.append(
                f"no example of {side} has anything to measure within {tokenising.maximum_length} tokens"
            )
            continue
        rows[side] = count
        sample = sample or render_sample(first.ids, first.labels, tokenising.tokenizer)
    return rows, sample


def _warnings(selection: Selection, tokenising: Tokenising, formats: list[str]) -> list[str]:
    """What a person should know about how the examples were fed."""
    counts, template = tokenising.counts, tokenising.template
    found = []
    if template.source == "default" and _has_conversations(selection):
        found.append(
            "the tokenizer has no chat template: turns are written as '### User:' and '### Assistant:', and this "
            "template is saved with the result; dataset.chatTemplate sets another"
        )
    if template.source == "tokenizer" and "PromptCompletion" in formats and not _has_conversations(selection):
        found.append(
            "prompt and completion are fed as they stand, without the model's chat template; "
            "dataset.format Instruction uses it"
        )
    if tokenising.tokenizer.eos_token_id is None:
        found.append("the tokenizer has no end-of-sequence token: the model cannot learn where to stop")
    if counts["truncated"]:
        found.append(f"{counts['truncated']} examples are longer than {tokenising.maximum_length} tokens and were cut")
    if counts["nothing_learnt"]:
        found.append(f"{counts['nothing_learnt']} examples have nothing to learn within the maximum length: left out")
    if counts["too_long"]:
        found.append(
            f"cleaning dropped {counts['too_long']} examples with more than {tokenising.maximum_tokens} tokens"
        )
    return found


def _nothing_learnt(maximum_length: int) -> DataError:
    return DataError(
        f"not one example has a token to learn within {maximum_length} tokens: the prompts fill them, or all were "
        "dropped.",
        "Raise hyperparameters.maxSequenceLength or dataset.cleaning.maxTokens, shorten the prompts, or set "
        "hyperparameters.loss to All.",
    )


def _has_conversations(selection: Selection) -> bool:
    return any(example.kind == "Conversation" for examples in selection.sides.values() for example in examples)


def _all_sources(config: TrainerConfig) -> list[DataSource]:
    dataset = config.spec.dataset
    held_out = [held.sources for held in (dataset.validation, dataset.test) if held is not None]
    return [source for sources in (dataset.sources, *held_out) for source in sources]


def _seed(config: TrainerConfig) -> int:
    own, hyperparameters = config.spec.dataset.seed, config.spec.hyperparameters
    if own is not None:
        return own
    seed = hyperparameters.seed if hyperparameters else None
    return _FALLBACK_SEED if seed is None else seed


def _everything_that_matters(
    config: TrainerConfig,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    maximum_length: int,
    pinned: Mapping[str, str],
) -> list[Any]:
    files = [
        [file.label, *file_identity(file.path)]
        for source in _all_sources(config)
        if source.hub is None
        for file in files_of(source, config.mounts)
    ]
    return [
        _LAYOUT,
        config.spec.dataset.dump(),
        config.spec.method,
        config.spec.hyperparameters.loss if config.spec.hyperparameters else None,
        _seed(config),
        maximum_length,
        _tokenizer_identity(tokenizer),
        [template.text, template.source],
        sorted(pinned.items()),
        files,
    ]


def _tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str:
    if tokenizer.is_fast:
        import json

        # Padding and truncation are set by whoever called it last.
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        state.pop("padding", None)
        state.pop("truncation", None)
        return digest([state, tokenizer.special_tokens_map])
    return digest([tokenizer.get_vocab(), tokenizer.special_tokens_map])

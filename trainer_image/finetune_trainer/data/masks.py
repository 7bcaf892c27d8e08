"""Decides which characters of an example are learnt. Works on text; tokens come in encoding.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..errors import ConfigError, DataError
from .rows import Example
from .templates import Template, render, render_marked

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Loss = Literal["All", "Completion", "Assistant"]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text that a model is fed, with the spans of characters that it learns."""

    text: str
    spans: tuple[Span, ...]
    begin_token: bool
    """The tokenizer's beginning-of-sequence token goes in front (templates write their own)."""
    end_token: bool
    """The end-of-sequence token follows and is learnt."""


def loss_for(example: Example, loss: Loss | None, pretraining: bool) -> Loss:
    """The loss of an example where the job does not say it. Raises ConfigError for a text's completion."""
    if example.kind == "Text" and loss in ("Completion", "Assistant"):
        raise ConfigError(
            f"hyperparameters.loss is {loss}, but rows of plain text have no {loss.lower()} part.",
            "Leave hyperparameters.loss out, or give rows with a prompt and a completion.",
        )
    if loss is not None:
        return loss
    if example.kind == "Text" or pretraining:
        return "All"
    return "Assistant" if example.kind == "Conversation" and not example.prompted else "Completion"


def rendered(example: Example, loss: Loss, tokenizer: PreTrainedTokenizerBase, template: Template | None) -> Rendered:
    """Text and learnt spans of an example. `template` is needed for conversations."""
    if example.kind == "Text":
        return Rendered(example.text, ((0, len(example.text)),), True, not example.continues)
    if example.kind == "PromptCompletion":
        text = example.prompt + example.completion
        return Rendered(text, ((0 if loss == "All" else len(example.prompt), len(text)),), True, True)
    assert template is not None, "a conversation is rendered by a template"
    return _conversation(example, loss, tokenizer, template)


def _conversation(example: Example, loss: Loss, tokenizer: PreTrainedTokenizerBase, template: Template) -> Rendered:
    if loss == "Assistant" and "generation" in template.text and "endgeneration" in template.text:
        text, spans = render_marked(tokenizer, template, example)
    else:
        text = render(tokenizer, template, example, len(example.messages))
        turns = [index for index, message in enumerate(example.messages) if message["role"] == "assistant"]
        if loss == "Completion":
            turns = turns[-1:]
        spans = [_turn(text, index, example, tokenizer, template) for index in turns]
    ended = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    ended.update(token for token in (tokenizer.eos_token,) if token)
    spans = [_without_trailing_space(text, span, ended) for span in spans]
    if example.messages[-1]["role"] == "assistant" and spans and not text[: spans[-1][1]].endswith(tuple(ended)):
        # The template ends answers with plain text: without an end token the model would never learn to stop.
        text, end_token = text[: spans[-1][1]], True
    elif example.messages[-1]["role"] == "assistant" and spans and loss != "All":
        # Nothing is learnt behind the last answer: do not compute it.
        text, end_token = text[: spans[-1][1]], False
    else:
        end_token = False
    learnt = ((0, len(text)),) if loss == "All" else tuple(spans)
    return Rendered(text, learnt, False, end_token)


def _turn(text: str, index: int, example: Example, tokenizer: PreTrainedTokenizerBase, template: Template) -> Span:
    """Where an assistant turn lies: between the prompt that asks for it and the conversation up to it."""
    before = render(tokenizer, template, example, index, prompt=True)
    last = index == len(example.messages) - 1
    after = text if last else render(tokenizer, template, example, index + 1)
    if text.startswith(before) and text.startswith(after) and len(after) > len(before):
        return len(before), len(after)
    raise DataError(
        f"the chat template does not say where assistant turn {index + 1} of row {example.origin.row} lies: what it "
        "makes of the beginning of a conversation differs from the beginning of what it makes of the whole.",
        "Set hyperparameters.loss to Completion (the last turn alone) or All, or give dataset.chatTemplate a template "
        "with {% generation %} around what the assistant says.",
        file=example.origin.file,
        line=example.origin.line,
    )


def _without_trailing_space(text: str, span: Span, ended: set[str]) -> Span:
    """White space that a template writes behind the end token is never generated, so it is not learnt."""
    begin, end = span
    shorter = text[begin:end].rstrip()
    return (begin, begin + len(shorter)) if shorter.endswith(tuple(ended)) else span

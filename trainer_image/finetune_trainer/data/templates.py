"""Which chat template conversations go through: the job's, the tokenizer's, or the default for base models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from finetune_api.trainer_contract import TrainerConfig

from ..errors import DataError
from .places import inside, mount_of
from .rows import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_TEMPLATE = """\
{%- for message in messages %}
{{- '### ' + message['role'] | capitalize + ':\\n' + (message['content'] or '') }}
{%- if message['role'] == 'assistant' %}{{- eos_token }}{% endif %}
{{- '\\n\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '### Assistant:\\n' }}{% endif %}"""
"""For tokenizers without a template: roles in words that every vocabulary has, so that no token is added. Every answer
ends with the end-of-sequence token, so that generation stops there."""

Source = Literal["job", "tokenizer", "default"]


@dataclass(frozen=True, slots=True)
class Template:
    """A Jinja chat template and whose it is."""

    text: str
    source: Source


def job_template(config: TrainerConfig) -> str | None:
    """The text of dataset.chatTemplate. Raises DataError where the ConfigMap has no such key."""
    holder = config.spec.dataset.chat_template
    if holder is None:
        return None
    name, key = holder.config_map.name, holder.config_map.key
    root = mount_of(config.mounts.config_maps, name, "ConfigMap")
    path = inside(root, key, f"{name}/{key}")
    if not path.is_file():
        keys = ", ".join(sorted(entry.name for entry in root.iterdir() if not entry.name.startswith(".")))
        raise DataError(
            "the ConfigMap has no such key.",
            f"It has {keys or 'none'}; mend dataset.chatTemplate.",
            file=f"{name}/{key}",
        )
    return path.read_text(encoding="utf-8")


def template_for(tokenizer: PreTrainedTokenizerBase, of_job: str | None) -> Template:
    """The template to use: the job's before the tokenizer's before the default."""
    if of_job is not None:
        return Template(of_job, "job")
    own: Any = tokenizer.chat_template
    if isinstance(own, dict):
        own = own.get("default") or next(iter(own.values()), None)
    default = default_template(tokenizer)
    return Template(own, "tokenizer") if own and own != default else Template(default, "default")


def default_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The default with the beginning-of-sequence token in front where this tokenizer puts one before every text."""
    return ("{{- bos_token }}" if bos_ids(tokenizer) else "") + DEFAULT_TEMPLATE


def bos_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The beginning-of-sequence token, when the tokenizer itself puts it in front of a text, else nothing."""
    ids = tokenizer("")["input_ids"]
    return [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None and tokenizer.bos_token_id in ids else []


def render(
    tokenizer: PreTrainedTokenizerBase, template: Template, example: Example, count: int, *, prompt: bool = False
) -> str:
    """The first `count` messages as text; `prompt` adds what comes before an answer. Raises DataError."""
    import jinja2

    try:
        return str(
            tokenizer.apply_chat_template(
                list(example.messages[:count]),
                tools=list(example.tools) or None,
                chat_template=template.text,
                add_generation_prompt=prompt,
                tokenize=False,
            )
        )
    except (jinja2.TemplateError, TypeError, KeyError) as error:
        raise refused(example, template, error) from error


def render_marked(
    tokenizer: PreTrainedTokenizerBase, template: Template, example: Example
) -> tuple[str, list[tuple[int, int]]]:
    """The whole conversation and the spans that the template marks with {% generation %}."""
    import jinja2
    from transformers.utils import chat_template_utils

    # The library's annotation of the result is narrower than what it returns (texts and, asked for, spans).
    render_all: Any = chat_template_utils.render_jinja_template
    try:
        texts, spans = render_all(
            conversations=[list(example.messages)],
            tools=list(example.tools) or None,
            chat_template=template.text,
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
    except (jinja2.TemplateError, TypeError, KeyError) as error:
        raise refused(example, template, error) from error
    return texts[0], [(int(begin), int(end)) for begin, end in spans[0]]


def refused(example: Example, template: Template, error: Exception) -> DataError:
    """What to say when a template cannot render a conversation."""
    whose = {"job": "of the job", "tokenizer": "of the model", "default": "for base models"}[template.source]
    return DataError(
        f"the chat template {whose} refuses row {example.origin.row}: {error}.",
        "Mend the conversation, or give the job another template (dataset.chatTemplate).",
        file=example.origin.file,
        line=example.origin.line,
    )

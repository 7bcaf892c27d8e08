"""The text below each field of a model, read from the source when a schema is written, and at no other time.

Pydantic can do so itself, when the class is made: that would parse the source at every start of every process.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


@cache
def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """Name in YAML to docstring, for the fields that have one; those of the bases included."""
    texts: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, BaseModel) and owner is not BaseModel:
            texts.update(_written(owner))
    return {field.alias or name: texts[name] for name, field in model.model_fields.items() if name in texts}


def _written(owner: type) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for field, text in pairwise(definition.body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            texts[field.target.id] = inspect.cleandoc(text.value.value)
    return texts

"""The base of every model of the spec: camelCase, strict, no unknown keys. Not for status (see status.py)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

LARGEST_INTEGER = 4_294_967_295
"""No whole number of the spec is larger; a bound that both JSON readers and seeds can keep."""


def _without_nulls(value: Any) -> Any:
    """Drops the names of a map that have no value, as the API server does."""
    return {name: item for name, item in value.items() if item is not None} if isinstance(value, Mapping) else value


NullsDropped = BeforeValidator(_without_nulls)
"""For maps of free names: a null counts as not written."""
Int = Annotated[int, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
PositiveInt = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Share = Annotated[float, Field(gt=0, lt=1)]


class SpecModel(BaseModel):
    """A part of what people write: unknown keys and wrong types are refused, never dropped."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        strict=True,
        frozen=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _read_as_the_api_server_does(cls, data: Any) -> Any:
        """A null counts as not written (the server drops it, no field being nullable), and 3.0 is the integer 3."""
        if not isinstance(data, Mapping):
            return data
        whole = _whole_fields(cls)
        return {
            name: _integral(value) if whole.get(name) else value
            for name, value in data.items()
            if value is not None or name not in whole
        }

    def dump(self) -> dict[str, Any]:
        """The fields that were set, by their names in YAML."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def with_fields(self, **fields: Any) -> Self:
        """A copy in which these fields (Python names) count as set."""
        return self.model_copy(update=fields)


def _integral(value: Any) -> Any:
    if isinstance(value, list):
        return [_integral(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@cache
def _whole_fields(model: type[BaseModel]) -> dict[str, bool]:
    """Every field of a model by its name in YAML, and whether it holds whole numbers or a list of them."""
    return {field.alias or name: _is_whole(field.annotation) for name, field in model.model_fields.items()}


def _is_whole(annotation: Any) -> bool:
    return annotation is int or any(_is_whole(part) for part in get_args(annotation))

"""The base of every model of the spec: camelCase, strict, no unknown keys. Not for status (see status.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel


def _integral(value: Any) -> Any:
    """Takes 3.0 for 3, as the API server does; leaves everything else to the strict check."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Int = Annotated[int, BeforeValidator(_integral)]
PositiveInt = Annotated[int, BeforeValidator(_integral), Field(ge=1)]
NonNegativeInt = Annotated[int, BeforeValidator(_integral), Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class SpecModel(BaseModel):
    """A part of what people write: unknown keys, nulls and wrong types are refused, never dropped."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        frozen=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_nulls(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key, value in data.items():
                if value is None:
                    raise ValueError(f"{key} is null: leave the field out or give it a value")
        return data

    def dump(self) -> dict[str, Any]:
        """The fields that were set, by their names in YAML."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def with_fields(self, **fields: Any) -> Self:
        """A copy in which these fields (Python names) count as set."""
        return self.model_copy(update=fields)

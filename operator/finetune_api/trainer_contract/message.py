"""What every message between operator and trainer is: versioned, in camelCase, lenient towards unknown keys."""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

CONTRACT_VERSION = 1


class ContractModel(BaseModel):
    """A message between operator and trainer: camelCase, unknown keys ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        ser_json_inf_nan="null",
    )

    def dump(self) -> dict[str, Any]:
        """The set fields, by their names on the wire. A number that is not finite becomes null."""
        loaded: dict[str, Any] = json.loads(self.model_dump_json(by_alias=True, exclude_none=True))
        return loaded

    @classmethod
    def load(cls, data: str | bytes) -> Self:
        """Reads a message, ignoring what this version does not know. Raises pydantic.ValidationError."""
        return cls.model_validate(json.loads(data), extra="ignore")

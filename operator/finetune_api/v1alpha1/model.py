"""The base model that a job starts from."""

from __future__ import annotations

from .references import ModelReference


class Model(ModelReference):
    """The base model: exactly one of hub, claim and job."""

    trust_remote_code: bool | None = None
    """Run the model repository's own Python code. Needs the platform's setting."""

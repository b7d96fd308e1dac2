"""What a validated part of the configuration is: immutable, without unknown fields, the same as JSON and back."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A validated value. `model_validate_json(model_dump_json())` gives an equal one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

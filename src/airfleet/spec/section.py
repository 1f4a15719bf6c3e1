"""What every section of fleet.yaml is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


def rule(what: str, hint: str = "") -> PydanticCustomError:
    """Make an error that reaches the user word for word."""
    return PydanticCustomError("rule", "{what}", {"what": what, "hint": hint})


class Section(BaseModel):
    """A map whose keys are all known, and whose values are taken as they are written."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

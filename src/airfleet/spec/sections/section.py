"""What every section of fleet.yaml is made of."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError


def rule(what: str, hint: str = "") -> PydanticCustomError:
    """Make an error that reaches the user word for word."""
    return PydanticCustomError("rule", "{what}", {"what": what, "hint": hint})


def shaped(pattern: str, words: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Make a text's type annotations: the whole text fits the pattern, which the words describe."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise PydanticCustomError("shape", "{words}", {"words": words})
        return value

    return AfterValidator(check), WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


class Section(BaseModel):
    """A map whose keys are all known, and whose values are taken as they are written."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        # The schema, and so the editors that show it, call a section by its own name.
        model_title_generator=lambda model: model.__name__.removesuffix("Section"),
    )


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise rule(
            f"not a regular expression: {error}", "put a backslash before a character that means itself"
        ) from None
    return text


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_pattern)]

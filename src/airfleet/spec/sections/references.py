"""References to secrets in fleet.yaml, and the types of values that may be references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from airfleet.spec.secret_ref import SecretRef
from airfleet.spec.sections.section import Section, rule

# pydantic puts these tags into the paths of its errors; `load` removes them there.
TEXT, LIST, VALUE, REFERENCE = "<text>", "<list>", "<value>", "<reference>"

SOURCES = ("env", "file", "command")
BY_REFERENCE = "write where it comes from: {env: NAME}, {file: path} or {command: [program, argument]}"


def by_tag(mapping: str, other: str, only: Callable[[dict[str, Any]], bool] = bool) -> Discriminator:
    """Return what tells a map that `only` accepts from every other value."""
    return Discriminator(lambda value: mapping if isinstance(value, dict) and only(value) else other)


class Reference(Section):
    """A reference names the source of a secret with exactly one of these keys."""

    env: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="The environment variable that holds it.", examples=["CRM_PASSWORD"]
    )
    file: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The file that holds it, relative to the project. Only its owner may read it.",
        examples=["secrets/crm"],
    )
    command: (
        Annotated[
            Annotated[str, Field(min_length=1), Tag(TEXT)]
            | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1), Tag(LIST)],
            Discriminator(lambda value: LIST if isinstance(value, list) else TEXT),
        ]
        | None
    ) = Field(
        default=None,
        description="The command that prints it: a list runs without a shell, a text runs through `sh -c`.",
        examples=[["sops", "-d", "secrets/crm.enc"]],
    )

    @model_validator(mode="after")
    def _one_source(self) -> Reference:
        if sum(source is not None for source in (self.env, self.file, self.command)) != 1:
            raise rule("a reference has exactly one of env, file and command", BY_REFERENCE)
        return self

    def convert(self) -> SecretRef:
        """Return the reference as a plain value."""
        command = tuple(self.command) if isinstance(self.command, list) else self.command
        return SecretRef(env=self.env, file=self.file, command=command)


TextOrReference = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[Reference, Tag(REFERENCE)], by_tag(REFERENCE, TEXT, lambda _: True)
]

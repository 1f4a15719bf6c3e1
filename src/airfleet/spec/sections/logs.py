"""The `logs` section of fleet.yaml: what the index of logs must not hold."""

from __future__ import annotations

from pydantic import Field

from airfleet.spec.sections.section import Pattern, Section


class LogsSection(Section):
    """The index of the logs of one machine."""

    redact: list[Pattern] = Field(
        default=[],
        description=(
            "Regular expressions of what is hidden in lines: the groups of a match, or the whole match without a group."
            " Passwords in URLs and after `password=` are hidden anyway."
        ),
        examples=[[r"IBAN (\w+)"]],
    )

"""The names of Airflow 2 in Jinja templates: which are rewritten, and what replaces the others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLOCK = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
# `x.execution_date` is Airflow's only behind these objects.
_OWNERS = r"(?:dag_run|ti|task_instance)\."

# The new expression has the same value under every schedule.
REPLACED = {
    "execution_date": "logical_date",
    "yesterday_ds": "macros.ds_add(ds, -1)",
    "tomorrow_ds": "macros.ds_add(ds, 1)",
}
# The new expression has the same value only for schedules with data intervals, or it needs quotes.
REMOVED = {
    "next_execution_date": "data_interval_end",
    "next_ds": "(data_interval_end | ds)",
    "next_ds_nodash": "(data_interval_end | ds_nodash)",
    "prev_execution_date": "the start of the interval before: data_interval_start minus the interval",
    "prev_ds": "the start of the interval before, as a date",
    "prev_ds_nodash": "the start of the interval before, as a date",
    "prev_execution_date_success": "prev_data_interval_start_success",
    "yesterday_ds_nodash": "macros.ds_format(macros.ds_add(ds, -1), '%Y-%m-%d', '%Y%m%d')",
    "tomorrow_ds_nodash": "macros.ds_format(macros.ds_add(ds, 1), '%Y-%m-%d', '%Y%m%d')",
}
_NAME = re.compile(rf"(?<![\w.'\"])({_OWNERS})?({'|'.join((*REPLACED, *REMOVED))})\b(?!['\"])")


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a name of Airflow 2 in a template. `new` is empty if it is not rewritten. Offsets count characters."""

    name: str
    start: int
    end: int
    new: str


def find(text: str) -> Iterator[Use]:
    """Yield each use of a name of Airflow 2 in the Jinja blocks of a text, from the top."""
    for block in _BLOCK.finditer(text):
        for match in _NAME.finditer(block[0]):
            name = match[2]
            if match[1] and name != "execution_date":
                continue
            start = block.start() + match.start(2)
            yield Use(name, start, start + len(name), REPLACED.get(name, ""))


def rewrite(text: str) -> str:
    """Return the text with the names that have an equal replacement."""
    for use in reversed(list(find(text))):
        if use.new:
            text = text[: use.start] + use.new + text[use.end :]
    return text

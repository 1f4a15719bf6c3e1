"""The findings of `airfleet doctor`, for one machine and for a fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


LEAST_FREE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of one check: the subject, its state, and a hint if the state is not ok."""

    level: Level
    subject: str
    what: str
    hint: str = ""

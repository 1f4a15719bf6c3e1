"""What `doctor` reports, of one machine and of a fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


LEAST_FREE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing looked at, what was found, and what to do about it."""

    level: Level
    subject: str
    what: str
    hint: str = ""

"""The errors that airfleet reports to a user.

AirfleetError            exit code 1: the command was correct, and it failed
├─ DatabaseAwayError     exit code 1: the metadata database does not answer
└─ UsageError            exit code 2: the command or the configuration is wrong
   └─ SpecError          exit code 2: fleet.yaml is wrong; lists every problem with its line
"""

from __future__ import annotations

from dataclasses import dataclass


class AirfleetError(Exception):
    """An error for a user: what is wrong, where (a host, file or setting), and a hint with what to do about it."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n\nhint: {self.hint}" if self.hint else head


class DatabaseAwayError(AirfleetError):
    """The metadata database does not answer. What follows in the same command need not wait for it again."""


class UsageError(AirfleetError):
    """The command or the configuration is wrong. Nothing was started or changed."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One error in a file. `line` counts from 1."""

    line: int
    path: str
    what: str
    hint: str = ""


class SpecError(UsageError):
    """Every error in one fleet.yaml, ordered by line."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.path)))
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{count} in {file}")

    def __str__(self) -> str:
        lines = [self.what]
        for problem in self.problems:
            at = f"{problem.path}: " if problem.path else ""
            lines.append(f"{self.file}:{problem.line}: {at}{problem.what}")
            if problem.hint:
                lines.append(f"  hint: {problem.hint}")
        return "\n".join(lines)

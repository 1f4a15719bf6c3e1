"""The state of a database host: the script that asks for it, and the answer as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from airfleet.components.postgresql.psql import AS_SERVER, build_command
from airfleet.components.postgresql.replication import DATA
from airfleet.errors import AirfleetError
from airfleet.shell_script import render_script
from airfleet_provider.contract.statements import Statements

Condition = Literal["primary", "replica", "stopped", "away"]

ASK = f"{AS_SERVER} {build_command()}"
SQL = Statements(__package__, "observation")


@dataclass(frozen=True, slots=True)
class DatabaseHost:
    """One database host: its condition, its timeline, and the bytes of WAL that it has (`position`).

    `follows` means that it receives more WAL. A host whose condition is "away" does not answer, or its PostgreSQL does
    not. After a crash the real position is unknown, and `position` is the last checkpoint.
    """

    name: str
    condition: Condition
    timeline: int = 0
    position: int = 0
    follows: bool = False
    crashed: bool = False

    @property
    def reach(self) -> tuple[int, int]:
        """Return a key that compares positions: a later timeline is ahead of every earlier one."""
        return self.timeline, self.position


def build_look() -> str:
    """Return the script whose output `parse` reads. It also works if the server is stopped."""
    return render_script(
        __package__,
        "look_at_server",
        ASK=ASK,
        QUESTION=SQL["look"],
        AS_SERVER=AS_SERVER,
        READ_STOPPED=render_script(__package__, "read_stopped_server"),
        DATA=DATA,
    )


def parse(name: str, text: str) -> DatabaseHost:
    """Return the state of a host from the output of the script of `build_look`.

    Raises:
        AirfleetError: The output is not known.
    """
    words = text.strip().split("|")
    if len(words) == 4 and words[0] in ("primary", "replica"):
        condition: Condition = "primary" if words[0] == "primary" else "replica"
        return DatabaseHost(name, condition, int(words[1]), int(words[2] or 0), words[3] == "streaming")
    said = dict(line.split(maxsplit=1) for line in text.splitlines() if len(line.split()) > 1)
    if "at" not in said:
        raise AirfleetError(f"the database host gave an unknown answer: {text.strip()[:80]!r}", where=name)
    high, low = said["at"].split("/")
    position = (int(high, 16) << 32) + int(low, 16)
    crashed = not said.get("state", "").startswith("shut down")
    return DatabaseHost(name, "stopped", int(said.get("line", "0")), position, crashed=crashed)

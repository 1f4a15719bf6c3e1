"""The work that runs during a drill: a steady stream of runs. Every task instance is known in advance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import LiteralString

from airfleet.drills.attempt_log import TaskInstance

MINIMUM_RATE = 1.0  # task instances a second; with fewer, a drill proves nothing about a busy fleet
SETTINGS = "include/drill_settings.py"
_FILES = ("dags/drill_load.py", "include/drill_ledger.py")


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one drill: `dags` Dags, each with a run every `every_s` seconds, for `length_s` seconds.

    The starts of the Dags are spread evenly. Each run is one short task; every run of the first Dag also has a long
    one. Every task looks up a variable, a connection and its own XCom, so that a drill also finds wrong answers.
    """

    began: datetime
    length_s: int
    ledger: str
    dags: int = 12
    every_s: int = 10
    short_s: float = 0.5
    long_s: float = 45.0
    queues: tuple[str, ...] = ("default",)

    @property
    def rate(self) -> float:
        """Return the task instances a second."""
        return (self.dags + 1) / self.every_s

    @property
    def prefix(self) -> str:
        """Return the prefix of its Dag ids. No two loads share a Dag, because Airflow continues after its last run."""
        return f"drill_load_{self.began.astimezone(UTC):%Y%m%dT%H%M%S}"

    @property
    def folder(self) -> str:
        """Return the folder of its attempt log. Each load has its own, so that it contains no other attempts."""
        return f"{self.ledger}/{self.prefix}"

    @property
    def secret(self) -> str:
        """Return the value of the variable and the connection of this load. Their name is the prefix."""
        return f"what {self.prefix} holds"

    @property
    def ends(self) -> datetime:
        return self.began + timedelta(seconds=self.length_s)

    def starts_of(self, dag: int) -> tuple[datetime, ...]:
        """Return the logical dates of one Dag's runs. The Dags start one after another within the first interval."""
        first = self.began + timedelta(seconds=self.every_s * dag / self.dags)
        return tuple(first + timedelta(seconds=at) for at in range(0, self.length_s, self.every_s))

    def expected(self) -> tuple[TaskInstance, ...]:
        """Return every task instance that must have succeeded at the end."""
        return tuple(
            TaskInstance(f"{self.prefix}_{dag}", date.astimezone(UTC).isoformat(), task)
            for dag in range(self.dags)
            for date in self.starts_of(dag)
            for task in (("short", "long") if dag == 0 else ("short",))
        )


# The statements for the variable and the connection of a load, in Airflow's unencrypted form.
STORE: tuple[LiteralString, ...] = (
    "DELETE FROM variable WHERE key = %(name)s",
    "DELETE FROM connection WHERE conn_id = %(name)s",
    "INSERT INTO variable (key, val, is_encrypted) VALUES (%(name)s, %(secret)s, false)",
    "INSERT INTO connection (conn_id, conn_type, host, is_encrypted, is_extra_encrypted)"
    " VALUES (%(name)s, 'generic', %(secret)s, false, false)",
)
REMOVE = STORE[:2]


def render_project(load: Load) -> dict[str, str]:
    """Return the files of a project with this load. It is deployed like any other project."""
    folder = resources.files("airfleet.drills") / "project"
    said = {
        **asdict(load),
        "prefix": load.prefix,
        "ledger": load.folder,
        "secret": load.secret,
        "began": load.began.astimezone(UTC).isoformat(),
        "ends": load.ends.astimezone(UTC).isoformat(),
    }
    # The settings are a module and not a data file, because a release parses a Dag file again if an import changed.
    settings = f'"""What the load of a drill is, written by it."""\n\nLOAD = {said!r}\n'
    return {**{name: (folder / name).read_text() for name in _FILES}, SETTINGS: settings}

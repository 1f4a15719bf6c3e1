"""The work that runs during a drill: a steady stream of runs, known in advance to the last task instance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import LiteralString

from airfleet.drills.attempt_log import TaskInstance

MINIMUM_RATE = 1.0  # task instances a second; below it a drill proves nothing about a busy fleet
SETTINGS = "include/drill_settings.py"
_FILES = ("dags/drill_load.py", "include/drill_ledger.py")


@dataclass(frozen=True, slots=True)
class Load:
    """Dags that take turns so that runs begin evenly: `dags` of them, each every `every_s`, for `length_s`.

    Each run is one short task; every run of the first Dag has a long one beside it. Every task looks up a variable, a
    connection and an XCom of its own, so that a drill also finds wrong answers.
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
        """Task instances a second."""
        return (self.dags + 1) / self.every_s

    @property
    def prefix(self) -> str:
        """What the names of its Dags begin with: no two loads share a Dag, as Airflow goes on from a Dag's last run."""
        return f"drill_load_{self.began.astimezone(UTC):%Y%m%dT%H%M%S}"

    @property
    def folder(self) -> str:
        """Where its tasks write their ledger: apart from those of loads before, whose attempts are not its own."""
        return f"{self.ledger}/{self.prefix}"

    @property
    def secret(self) -> str:
        """What the variable and the connection of this load hold, both named after its prefix."""
        return f"what {self.prefix} holds"

    @property
    def ends(self) -> datetime:
        return self.began + timedelta(seconds=self.length_s)

    def starts_of(self, dag: int) -> tuple[datetime, ...]:
        """The logical dates of one Dag's runs: Dags begin one after another within the first interval."""
        first = self.began + timedelta(seconds=self.every_s * dag / self.dags)
        return tuple(first + timedelta(seconds=at) for at in range(0, self.length_s, self.every_s))

    def expected(self) -> tuple[TaskInstance, ...]:
        """Every task instance that must be found done once all is over."""
        return tuple(
            TaskInstance(f"{self.prefix}_{dag}", date.astimezone(UTC).isoformat(), task)
            for dag in range(self.dags)
            for date in self.starts_of(dag)
            for task in (("short", "long") if dag == 0 else ("short",))
        )


# What a load's tasks look up, as Airflow keeps it when it is not encrypted.
STORE: tuple[LiteralString, ...] = (
    "DELETE FROM variable WHERE key = %(name)s",
    "DELETE FROM connection WHERE conn_id = %(name)s",
    "INSERT INTO variable (key, val, is_encrypted) VALUES (%(name)s, %(secret)s, false)",
    "INSERT INTO connection (conn_id, conn_type, host, is_encrypted, is_extra_encrypted)"
    " VALUES (%(name)s, 'generic', %(secret)s, false, false)",
)
REMOVE = STORE[:2]


def render_project(load: Load) -> dict[str, str]:
    """The files of a project that makes this load, to be deployed like any other."""
    folder = resources.files("airfleet.drills") / "project"
    said = {
        **asdict(load),
        "prefix": load.prefix,
        "ledger": load.folder,
        "secret": load.secret,
        "began": load.began.astimezone(UTC).isoformat(),
        "ends": load.ends.astimezone(UTC).isoformat(),
    }
    # A module and no data file: a release parses a Dag file again when something that it imports has changed.
    settings = f'"""What the load of a drill is, written by it."""\n\nLOAD = {said!r}\n'
    return {**{name: (folder / name).read_text() for name in _FILES}, SETTINGS: settings}

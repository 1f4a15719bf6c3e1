"""What a batch of archived runs holds: its files with their hashes, its runs with their digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

FORMAT = 1


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file. `columns` are PostgreSQL's types of the columns, by name."""

    path: str
    rows: int
    bytes: int
    sha256: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ArchivedRun:
    """A run: its digest is of all its rows but those of `log`, as PostgreSQL computes it."""

    id: int
    run_id: str
    run_after: datetime
    task_instances: int
    digest: str


@dataclass(frozen=True, slots=True)
class ArchivedLogs:
    """The files with the logs of tasks of a batch, the ids of the runs that have any, and the number of logs."""

    parts: tuple[DataFile, ...] = ()
    runs: tuple[int, ...] = ()
    number: int = 0


@dataclass(frozen=True, slots=True)
class BatchManifest:
    """A batch: runs of one Dag and one month, archived together."""

    batch: str
    dag_id: str
    month: str
    created_at: datetime
    airflow_revision: str
    files: Mapping[str, DataFile]
    runs: tuple[ArchivedRun, ...]
    # An airfleet that knows nothing of logs reads the manifest all the same.
    logs: ArchivedLogs = ArchivedLogs()

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "batch": self.batch,
            "dag_id": self.dag_id,
            "month": self.month,
            "created_at": self.created_at.isoformat(),
            "airflow_revision": self.airflow_revision,
            "files": {table: asdict(one) for table, one in self.files.items()},
            "runs": [
                [one.id, one.run_id, one.run_after.isoformat(), one.task_instances, one.digest] for one in self.runs
            ],
            "logs": asdict(self.logs),
        }

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.files.values())

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in (*self.files.values(), *self.logs.parts))

    @property
    def task_instances(self) -> int:
        return sum(one.task_instances for one in self.runs)


def read(content: Mapping[str, Any]) -> BatchManifest:
    """A manifest from its JSON; raises ValueError for a format that a later version wrote."""
    if content["format"] != FORMAT:
        raise ValueError(f"batch {content['batch']} has the format {content['format']}: a newer airfleet wrote it")
    return BatchManifest(
        batch=content["batch"],
        dag_id=content["dag_id"],
        month=content["month"],
        created_at=datetime.fromisoformat(content["created_at"]),
        airflow_revision=content["airflow_revision"],
        files={table: DataFile(**one) for table, one in content["files"].items()},
        runs=tuple(
            ArchivedRun(number, run_id, datetime.fromisoformat(after), tasks, digest)
            for number, run_id, after, tasks, digest in content["runs"]
        ),
        logs=_read_logs(content.get("logs", {"parts": [], "runs": [], "number": 0})),
    )


def _read_logs(content: Mapping[str, Any]) -> ArchivedLogs:
    parts = tuple(DataFile(**one) for one in content["parts"])
    return ArchivedLogs(parts, tuple(content["runs"]), content["number"])


def find_newest(manifests: Iterable[BatchManifest]) -> dict[int, str]:
    """The batch that holds each run, by the run's id: the newest one of a run that was restored and archived again."""
    return {run.id: one.batch for one in sorted(manifests, key=lambda one: one.batch) for run in one.runs}

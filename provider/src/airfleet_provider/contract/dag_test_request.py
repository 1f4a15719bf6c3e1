"""What `airfleet dag test` requests of the process that tests a Dag."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class DagTestRequest:
    """One run of one Dag, in a metadata database of its own."""

    dag: str
    # The folder with the Dag files.
    dags: str
    # The file of the database. It does not exist yet.
    database: str
    # The folder in which empty databases are kept from one test to the next.
    templates: str
    conf: dict[str, object]
    # A moment in ISO 8601, or None for now.
    logical_date: str | None = None
    retries: bool = False
    as_json: bool = False
    # The process that waits for the test, and without which it ends. None: the test ends with its terminal.
    parent: int | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DagTestRequest:
        return cls(**json.loads(text))

"""What tasks say of themselves beside their log: events of OpenLineage, and spans of their own code. No I/O.

A process of a task appends each record as a line to a file of its own. The supervisor of the attempt hands the files
over when the task has ended (ADR 79).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# Where a supervisor hands records over, below the address of the execution API, and how the API sees that path.
REPORT_TO = "airfleet/records"
REPORTED_AT = f"/execution/{REPORT_TO}"
# The transport with which OpenLineage's client writes events to the files of a task.
TRANSPORT = "airfleet_provider.task_records.openlineage.RecordTransport"
# What `airfleet.record_total` counts of events.
READ, SENT, GIVEN_UP, UNKNOWN = "events read", "events sent", "events given up", "events of unknown attempts"
# The option of Airflow with the folder of the files on this host. Without it, nothing is written.
SECTION, FOLDER_KEY = "airfleet", "record_folder"
# The option that says whether `trace` writes spans.
SPANS_KEY = "user_spans"
# The files of an attempt: the id of its task instance, a random name, and what says that it is such a file.
SUFFIX = ".records"
_FILE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([0-9a-f]{32})\.records")

# Bytes of a record and of one file. What follows is not kept, and the file says so.
MOST_RECORD_BYTES = 128 << 10
MOST_FILE_BYTES = 1 << 20
# A file whose last record says that others are missing may be longer by this.
CUT_BYTES = 200
# Spans that one process of a task writes.
MOST_SPANS = 500


class RecordKind(StrEnum):
    """What a record is."""

    OPENLINEAGE = "openlineage"
    SPAN = "span"
    # Nothing that follows was kept: the file is full.
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A record, and the offset of its end in the file, which no other record of the file has."""

    place: int
    kind: RecordKind
    body: Mapping[str, Any]


def name_file(instance: str, random: str) -> str:
    """Return the name of a file of an attempt. `random` has 32 hexadecimal digits."""
    return f"{instance}.{random}{SUFFIX}"


def read_name(name: str) -> tuple[str, str] | None:
    """Return the id of the task instance and the random part of a file's name, or None for another file."""
    found = _FILE.fullmatch(name)
    return (found[1], found[2]) if found else None


def is_of_task(event: Mapping[str, Any]) -> bool:
    """Return whether an event of OpenLineage is of a task of Airflow, and not of something within it, as a query."""
    job = event.get("job")
    facets = job.get("facets") if isinstance(job, dict) else None
    kind = facets.get("jobType") if isinstance(facets, dict) else None
    return isinstance(kind, dict) and (kind.get("integration"), kind.get("jobType")) == ("AIRFLOW", "TASK")


def encode(kind: RecordKind, body: Mapping[str, Any]) -> bytes:
    """Return a record as a line."""
    return json.dumps({"kind": kind, "body": body}, separators=(",", ":"), default=str).encode() + b"\n"


def decode(content: bytes) -> Iterator[TaskRecord]:
    """Yield the records of a file. A line that is none is left out, and so is one whose writer was killed."""
    place = 0
    for line in content.split(b"\n")[:-1]:
        place += len(line) + 1
        try:
            read = json.loads(line)
            record = TaskRecord(place, RecordKind(read["kind"]), dict(read["body"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        yield record

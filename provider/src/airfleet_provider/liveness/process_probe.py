"""`python -m airfleet_provider.liveness.process_probe PID heartbeat|seat NAME ...`: checks whether a process works.

The probe reads the metadata database, and compares no two clocks. A host stamps its jobs, and its clock judges them.
The database stamps seats, and its clock judges them. Of the process itself the probe uses only the age.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from airfleet_provider.contract.lease_schema import CandidateState
from airfleet_provider.liveness.wait_for_database import read_url

# How much older than its process a job or a seat may seem to be.
SLACK_S = 1.0
HEARTBEAT = (
    "SELECT count(*) FROM job WHERE state = 'running' AND job_type = :name AND hostname = :host"
    " AND start_date >= to_timestamp(:begun) AND latest_heartbeat >= to_timestamp(:fresh)"
    " AND latest_heartbeat > start_date"
)
SEAT = (
    "SELECT count(*) FROM airfleet.seat WHERE name = :name AND state IN (:active, :standby)"
    " AND clock_timestamp() - started_at <= :age * interval '1 s'"
    " AND clock_timestamp() - seen_at <= :max_age * interval '1 s'"
)


def main(arguments: Sequence[str] = sys.argv[1:]) -> NoReturn:
    """Exit with 0 if the process works, and with 1 and a line on stderr if not."""
    pid, kind, name, *rest = arguments
    url = read_url(os.environ)
    if kind == "heartbeat":
        host, max_age = rest
        is_well = has_heartbeat(url, name, host, age_s=measure_age(int(pid)), max_age_s=float(max_age))
    else:
        (max_age,) = rest
        is_well = has_seat(url, name, age_s=measure_age(int(pid)), max_age_s=float(max_age))
    raise SystemExit(0 if is_well else f"{name}: no {kind} of this process yet")


def has_heartbeat(
    url: str, job_type: str, host: str, *, age_s: float, max_age_s: float, now: float | None = None
) -> bool:
    """Return whether a job of this type on this host started with a process of this age, and has a fresh heartbeat."""
    moment = time.time() if now is None else now
    values = {"name": job_type, "host": host, "begun": moment - age_s - SLACK_S, "fresh": moment - max_age_s}
    return _count(url, HEARTBEAT, values) > 0


def has_seat(url: str, name: str, *, age_s: float, max_age_s: float) -> bool:
    """Return whether a process of this age holds the seat, and is active or a ready standby."""
    ready = {"active": CandidateState.ACTIVE.value, "standby": CandidateState.STANDBY.value}
    return _count(url, SEAT, {"name": name, "age": age_s + SLACK_S, "max_age": max_age_s, **ready}) > 0


def measure_age(pid: int) -> float:
    """Return the age of a process in seconds.

    Raises:
        SystemExit: there is no such process.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        raise SystemExit(f"there is no process {pid}") from None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _count(url: str, sql: str, values: dict[str, Any]) -> int:
    from sqlalchemy import create_engine, text  # noqa: PLC0415 - slow to import
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    with create_engine(url, poolclass=NullPool).connect() as connection:
        return int(connection.execute(text(sql), values).scalar_one())


if __name__ == "__main__":
    main()

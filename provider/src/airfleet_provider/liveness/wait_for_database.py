"""`python -m airfleet_provider.liveness.wait_for_database COMMAND...`: runs the command once the database answers.

Most of Airflow's processes end when they lose the database. Each restart uses seconds of CPU before the process finds
that the database is still down. Restarts of all processes at once would slow the machine down.
"""

from __future__ import annotations

import configparser
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from airfleet_provider.contract.text import one_line

LOOK_EVERY_S = 1.0
SAY_EVERY_S = 60.0


def main(arguments: Sequence[str] = sys.argv[1:]) -> NoReturn:
    """Wait for the database, then replace this process with the command."""
    url = read_url(os.environ)
    wait(lambda: ask(url), say)
    os.execv(arguments[0], list(arguments))


def wait(
    look: Callable[[], None],
    say: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once `look` raises no exception; report the reason of the wait at once, and then every `SAY_EVERY_S`."""
    begun, said = clock(), None
    while True:
        try:
            look()
        except Exception as error:
            if said is None or clock() - said >= SAY_EVERY_S:
                said = clock()
                lines = str(error).strip().splitlines() or [type(error).__name__]
                say(f"the database has not answered for {said - begun:.0f} s, waiting: {lines[0]}")
            sleep(LOOK_EVERY_S)
        else:
            if said is not None:
                say(f"the database answers again after {clock() - begun:.0f} s")
            return


def read_url(environment: Mapping[str, str]) -> str:
    """Return `[database] sql_alchemy_conn` without importing Airflow, which would use the CPU time to be saved."""
    if url := environment.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"):
        return url
    config = configparser.RawConfigParser()
    config.read_string(Path(environment["AIRFLOW_CONFIG"]).read_text())
    return config["database"]["sql_alchemy_conn"].replace("%%", "%")


def ask(url: str) -> None:
    """Run one statement on a new connection.

    Raises:
        Exception: the driver's error, if the database does not answer.
    """
    from sqlalchemy import create_engine, text  # noqa: PLC0415 - slow to import
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    with create_engine(url, poolclass=NullPool).connect() as connection:
        connection.execute(text("SELECT 1"))


def say(line: str) -> None:
    """Write a line to stderr, and so to the log of the service."""
    print(f"airfleet: {one_line(line, 1000)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

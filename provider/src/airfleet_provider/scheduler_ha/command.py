"""`airflow airfleet scheduler`: a candidate scheduler; one candidate is active at a time."""

from __future__ import annotations

import argparse
import os
import secrets
from typing import NoReturn

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import environment
from airfleet_provider.scheduler_ha import host
from airfleet_provider.scheduler_ha.agent import SchedulerAgent
from airfleet_provider.scheduler_ha.airflow_scheduler import AirflowScheduler

ALONE = (
    "airfleet: a scheduler agent kills all processes of its session, so it must lead a session of its own:"
    " start it with systemd, `airfleet up` or `setsid --wait airflow airfleet scheduler`"
)


def run_command(arguments: argparse.Namespace) -> NoReturn:
    """Run the scheduler agent until it ends.

    Raises:
        SystemExit: always, with the agent's exit code, or with a hint if this process leads no session.
    """
    if os.getsid(0) != os.getpid():
        raise SystemExit(ALONE)
    os.environ[environment.ONE_SESSION] = "1"  # another candidate may end what this one has left, by its session
    place = host.find_place(arguments.seat)
    holder = f"{place.seat[:30]}:{secrets.token_hex(6)}"
    raise SystemExit(SchedulerAgent(metadata_db.connect, AirflowScheduler(), place, holder).run())

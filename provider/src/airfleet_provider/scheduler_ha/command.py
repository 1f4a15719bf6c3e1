"""`airflow airfleet scheduler`: one candidate of the schedulers of which one at a time is active."""

from __future__ import annotations

import argparse
import os
import secrets
from typing import NoReturn

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.scheduler_ha import host
from airfleet_provider.scheduler_ha.agent import SchedulerAgent
from airfleet_provider.scheduler_ha.airflow_scheduler import AirflowScheduler

ALONE = (
    "airfleet: a scheduler's guardian ends all of its session with it, so it must lead one of its own:"
    " systemd and `airfleet up` see to that, by hand it is `setsid --wait airflow airfleet scheduler`"
)


def run_command(arguments: argparse.Namespace) -> NoReturn:
    """Guard until stopped."""
    if os.getsid(0) != os.getpid():
        raise SystemExit(ALONE)
    place = host.find_place(arguments.seat)
    holder = f"{place.seat[:30]}:{secrets.token_hex(6)}"
    raise SystemExit(SchedulerAgent(metadata_db.connect, AirflowScheduler(), place, holder).run())

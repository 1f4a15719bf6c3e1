"""A real guardian with a toy scheduler, which writes its epoch into a table in a loop."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import time
from typing import Any

import psycopg2

from airfleet_provider.scheduler_ha import host
from airfleet_provider.scheduler_ha.agent import SchedulerAgent
from airfleet_provider.scheduler_ha.lease import SCHEDULER


class Toy:
    is_local = False

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def connect(self, name: str) -> Any:  # noqa: ANN401 - psycopg2 has no types
        connection = psycopg2.connect(self._dsn, application_name=name)
        connection.autocommit = True
        return connection

    def prepare(self) -> None:
        pass

    def run(self, epoch: int) -> int:
        while True:
            try:
                connection = self.connect(f"{SCHEDULER}{epoch}")
                cursor = connection.cursor()
                cursor.execute("SELECT epoch FROM airfleet.lease WHERE name = 'scheduler'")
                if cursor.fetchone()[0] != epoch:
                    os._exit(75)
                while True:
                    cursor.execute("INSERT INTO ledger (epoch, pid) VALUES (%s, %s)", (epoch, os.getpid()))
                    time.sleep(0.005)
            except psycopg2.Error:
                time.sleep(0.02)

    def retire(self, session: object) -> None:
        pass

    def read_beat(self, session: object) -> str:
        return str(time.monotonic())


def main(dsn: str, seat: str) -> None:
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {seat} %(message)s")
    os.setsid()
    toy = Toy(dsn)
    raise SystemExit(SchedulerAgent(toy.connect, toy, host.find_place(seat), f"{seat}:{secrets.token_hex(4)}").run())


if __name__ == "__main__":
    main(*sys.argv[1:])

"""`airfleet down` in the project of a fleet: what stops, and in which order."""

from __future__ import annotations

import pytest

from airfleet.errors import AirfleetError
from airfleet.operations import stopping
from airfleet.runners.fleet.transport.shell import Shell
from shells import MadeUpShell, name_host


class Units:
    """The services of a host. Each stops after its state was read some times."""

    def __init__(self, name: str, units: list[str], log: list[str], looks: int = 1) -> None:
        self.name, self.units, self.log, self.looks = name, units, log, looks
        self.stopping: dict[str, int] = {}

    def answer(self, script: str) -> str:
        if script.startswith("systemctl list-units"):
            return "".join(f"{unit} loaded active running x\n" for unit in self.units)
        if script.startswith("systemctl stop"):
            for unit in script.split()[3:]:
                self.log.append(f"{self.name}: stop {unit}")
                self.stopping[unit] = self.looks
            return ""
        lines = []
        for unit in [unit for unit in self.stopping if unit in script]:
            left = self.stopping[unit] = self.stopping[unit] - 1
            if left == 0:
                self.log.append(f"{self.name}: {unit} has stopped")
            lines.append(f"{unit} {'inactive' if left <= 0 else 'deactivating'}")
        return "\n".join(lines) + "\n"


def make_shell(name: str, units: list[str], log: list[str], looks: int = 1) -> MadeUpShell:
    return MadeUpShell(Units(name, units, log, looks).answer, name_host(name))


def test_what_makes_work_stops_first_then_what_does_it_then_what_that_needs() -> None:
    log: list[str] = []
    shells: dict[str, Shell] = {
        "s": make_shell("s", ["airfleet-scheduler.service", "airfleet-node-exporter.service"], log),
        "w": make_shell(
            "w", ["airfleet-worker-a.service", "airfleet-worker-logs.service", "airfleet-proxy.service"], log, 3
        ),
        "d": make_shell("d", ["airfleet-postgresql.service", "airfleet-rabbitmq.service"], log),
        "a": make_shell("a", ["airfleet-api-server.service", "airfleet-balancer.service"], log),
    }
    plan = stopping.look(shells)
    stopping.stop(plan, shells, notify=lambda _: None, require=lambda: None, sleep=lambda _: None)
    assert log[:5] == [
        *("s: stop airfleet-scheduler.service", "s: airfleet-scheduler.service has stopped"),
        *("w: stop airfleet-worker-a.service", "w: airfleet-worker-a.service has stopped"),
        "w: stop airfleet-worker-logs.service",
    ]
    assert log[5] == "a: stop airfleet-api-server.service"
    assert not any("postgresql" in line or "rabbitmq" in line or "balancer" in line for line in log)


def test_a_lost_lease_stops_nothing_more() -> None:
    log: list[str] = []
    shells: dict[str, Shell] = {"s": make_shell("s", ["airfleet-scheduler.service"], log)}

    def lost() -> None:
        raise AirfleetError("the lease was lost")

    with pytest.raises(AirfleetError, match="lost"):
        stopping.stop(stopping.look(shells), shells, notify=lambda _: None, require=lost, sleep=lambda _: None)
    assert log == []

"""`airfleet down` in the project of a fleet: what stops, and in which order."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from airfleet.errors import AirfleetError
from airfleet.operations import stopping
from airfleet.runners.fleet.transport.connection import Output


@dataclass
class Shell:
    """A host whose units stop after some looks."""

    name: str
    units: list[str]
    log: list[str]
    looks: int = 1
    stopping: dict[str, int] = field(default_factory=dict)

    def run(self, script: str, *, timeout_s: float = 60) -> Output:
        del timeout_s
        if script.startswith("systemctl list-units"):
            return Output(0, "".join(f"{unit} loaded active running x\n" for unit in self.units), "")
        if script.startswith("systemctl stop"):
            for unit in script.split()[3:]:
                self.log.append(f"{self.name}: stop {unit}")
                self.stopping[unit] = self.looks
            return Output(0, "", "")
        lines = []
        for unit in [unit for unit in self.stopping if unit in script]:
            left = self.stopping[unit] = self.stopping[unit] - 1
            if left == 0:
                self.log.append(f"{self.name}: {unit} has stopped")
            lines.append(f"{unit} {'inactive' if left <= 0 else 'deactivating'}")
        return Output(0, "\n".join(lines) + "\n", "")


def test_what_makes_work_stops_first_then_what_does_it_then_what_that_needs() -> None:
    log: list[str] = []
    shells: dict[str, stopping.Shell] = {
        "s": Shell("s", ["airfleet-scheduler.service", "airfleet-node-exporter.service"], log),
        "w": Shell(
            "w", ["airfleet-worker-a.service", "airfleet-worker-logs.service", "airfleet-proxy.service"], log, 3
        ),
        "d": Shell("d", ["airfleet-postgresql.service", "airfleet-rabbitmq.service"], log),
        "a": Shell("a", ["airfleet-api-server.service", "airfleet-balancer.service"], log),
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
    shells: dict[str, stopping.Shell] = {"s": Shell("s", ["airfleet-scheduler.service"], log)}

    def lost() -> None:
        raise AirfleetError("the lease was lost")

    with pytest.raises(AirfleetError, match="lost"):
        stopping.stop(stopping.look(shells), shells, notify=lambda _: None, require=lost, sleep=lambda _: None)
    assert log == []

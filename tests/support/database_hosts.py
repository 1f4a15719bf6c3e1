"""A fleet with two database hosts, and what airfleet would put on each of its hosts."""

from __future__ import annotations

from dataclasses import replace

from airfleet.components.host_model import Part
from airfleet.components.hosts.host_parts import describe
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Promoted
from places import NINE, parse, place, with_setting

TWO = with_setting(NINE, "pools: [io]", "roles: [worker, database], pools: [io]").replace("  io1:", "  data2:")
HOSTS = ("web1", "sched1", "cpu1", "data1", "data2")


def fleet(*, primary: str = "", more: str = "") -> Fleet:
    return replace(parse(TWO + more), promoted=Promoted(primary, is_led=bool(primary)))


def parts(of: Fleet, host: str) -> tuple[Part, ...]:
    return describe(place(of, host), ssh_ports=(22,))


def jobs(of: Fleet, host: str) -> dict[str, str]:
    return {job.name: job.script.reveal() for part in parts(of, host) for job in part.jobs}

"""The checks of servers that somebody else runs, from the hosts of a fleet: all findings at once, and no change."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from airfleet.components.host_model import FleetCredentials
from airfleet.peers.findings import judge_round_trip
from airfleet.runners.fleet.transport.connection import HostConnection, HostError
from airfleet.runners.fleet.transport.shell import NamedShell
from airfleet.shell_script import render_script
from airfleet.spec.fleet import Fleet
from airfleet.workspace.diagnosis import Diagnosis

# Connections of one host: those of web servers, or of the scheduler, the Dag processor, the triggerer and the agents.
WEB_CONNECTIONS, SCHEDULER_CONNECTIONS, COMMANDS = 30, 40, 10
WHERE = "fleet.yaml"
TIMES = 5
WAIT_S = 10
MOST_AT_ONCE = 32


def count_connections(fleet: Fleet) -> int:
    """Return how many connections a fleet opens at most, without those of hooks of its tasks. Slots report results."""
    slots = sum(fleet.pool(name).concurrency for host in fleet.hosts for name in host.pools)
    webs, schedulers = len(fleet.with_role("web")), len(fleet.with_role("scheduler"))
    return WEB_CONNECTIONS * webs + SCHEDULER_CONNECTIONS * schedulers + slots + COMMANDS


def examine(fleet: Fleet, credentials: FleetCredentials, shells: Iterable[HostConnection]) -> Iterator[Diagnosis]:
    """Yield what is wrong with the servers that somebody else runs, as the hosts of `shells` see them."""
    own = credentials.database
    if own is None:
        return
    from airfleet.peers import database  # noqa: PLC0415 - the driver costs other fleets 0.1 s
    from airfleet.peers.connection import SUBJECT  # noqa: PLC0415

    listed = tuple(one for one in shells if {"web", "scheduler", "worker"} & set(one.host.roles))
    seen = list(_measure(SUBJECT, listed, own.host, own.port))
    yield from seen
    way = next((one for one in listed if "scheduler" in one.host.roles), None)
    if way is None:
        yield Diagnosis("error", SUBJECT, "no scheduler host answers, and the checks start there")
        return
    if any(one.level == "error" and one.subject == way.host.name for one in seen):
        return
    with way.forward(own.host, own.port) as port:
        yield from database.examine(
            own,
            credentials.identity,
            connections=count_connections(fleet),
            way=port,
            results=credentials.results,
        )


def _measure(subject: str, shells: tuple[HostConnection, ...], address: str, port: int) -> Iterator[Diagnosis]:
    """Yield whether each host reaches the server, and in how many milliseconds."""
    script = render_script(__package__, "measure_way", HOST=address, PORT=port, TIMES=TIMES)
    command = f"timeout {WAIT_S} bash -c {shlex.quote(script)}"
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        for shell, found in zip(shells, pool.map(lambda one: _try(one, command), shells), strict=True):
            if isinstance(found, float):
                yield judge_round_trip(subject, found, shell.host.name)
            else:
                hint = "may it reach the server (name server, route, security group, pg_hba.conf)?"
                yield Diagnosis("error", shell.host.name, f"{address}:{port} cannot be reached: {found}", hint)


def _try(shell: NamedShell, command: str) -> float | str:
    try:
        done = shell.run(command, timeout_s=WAIT_S + 5)
    except HostError as error:
        return error.what
    times = [int(line) for line in done.out.split() if line.isdigit()]
    if done.code or not times:
        return (done.err.strip().splitlines() or ["no answer"])[-1].rpartition(": ")[2]
    return min(times) / 1000

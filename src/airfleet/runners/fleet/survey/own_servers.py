"""The checks of servers that somebody else runs, from the hosts of a fleet: all findings at once, and no change."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from airfleet.components.host_model import FleetCredentials
from airfleet.components.model import OwnBroker
from airfleet.peers.findings import judge_round_trip
from airfleet.runners.fleet.transport.connection import HostConnection, HostError
from airfleet.runners.fleet.transport.shell import NamedShell
from airfleet.shell_script import render_script
from airfleet.spec.addresses import join_port
from airfleet.spec.fleet import Fleet
from airfleet.workspace.diagnosis import Diagnosis

# Connections of one host: those of web servers, or of the scheduler, the Dag processor, the triggerer and the agents.
WEB_CONNECTIONS, SCHEDULER_CONNECTIONS, COMMANDS = 30, 40, 10
WHERE = "fleet.yaml"
NO_WAY = ("no scheduler host answers, and the checks start there", "see the errors of the hosts")
TIMES = 5
WAIT_S = 10
MOST_AT_ONCE = 32


def count_connections(fleet: Fleet) -> int:
    """Return how many connections a fleet opens at most, without those of hooks of its tasks. Slots report results."""
    slots = sum(fleet.pool(name).concurrency for host in fleet.hosts for name in host.pools)
    webs, schedulers = len(fleet.with_role("web")), len(fleet.with_role("scheduler"))
    return WEB_CONNECTIONS * webs + SCHEDULER_CONNECTIONS * schedulers + slots + COMMANDS


def examine(
    fleet: Fleet, credentials: FleetCredentials, shells: Iterable[HostConnection], *, tries_queue: bool = True
) -> Iterator[Diagnosis]:
    """Yield what is wrong with the servers that somebody else runs, as the hosts of `shells` see them.

    With `tries_queue` a message goes through a queue that is made for it and removed.
    """
    if not (credentials.database or credentials.broker):
        return
    listed = tuple(one for one in shells if {"web", "scheduler", "worker"} & set(one.host.roles))
    way = next((one for one in listed if "scheduler" in one.host.roles), None)
    if own := credentials.database:
        yield from _examine_each("database", listed, own.host, own.port, lambda: _ask_database(fleet, credentials, way))
    if broker := credentials.broker:
        users = tuple(one for one in listed if {"scheduler", "worker"} & set(one.host.roles))
        yield from _examine_each(
            "broker", users, broker.host, broker.port, lambda: _ask_broker(fleet, broker, way, tries_queue=tries_queue)
        )


def _examine_each(
    subject: str, shells: tuple[HostConnection, ...], address: str, port: int, ask: Callable[[], Iterable[Diagnosis]]
) -> Iterator[Diagnosis]:
    """Yield how each host reaches a server, and what `ask` finds there if the way to it is open."""
    seen = tuple(_measure(subject, shells, address, port))
    yield from seen
    if not any(one.level == "error" and one.subject != subject for one in seen):
        yield from ask()


def _ask_database(fleet: Fleet, credentials: FleetCredentials, way: HostConnection | None) -> Iterator[Diagnosis]:
    own = credentials.database
    if way is None or own is None:
        yield Diagnosis("error", "database", *NO_WAY)
        return
    from airfleet.peers import database  # noqa: PLC0415 - the driver costs other fleets 0.1 s

    with way.forward(own.host, own.port) as port:
        yield from database.examine(
            own,
            credentials.identity,
            connections=count_connections(fleet),
            way=port,
            results=credentials.results,
        )


def _ask_broker(fleet: Fleet, own: OwnBroker, way: HostConnection | None, *, tries_queue: bool) -> Iterator[Diagnosis]:
    if way is None:
        yield Diagnosis("error", "broker", *NO_WAY)
        return
    from airfleet.peers import broker  # noqa: PLC0415 - as above

    with ExitStack() as stack:
        port = stack.enter_context(way.forward(own.host, own.port))
        api = own.find_api()
        yield from broker.examine(
            own,
            fleet.queues,
            way=port,
            api_way=stack.enter_context(way.forward(*api)) if api else 0,
            tries_queue=tries_queue,
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
                yield Diagnosis(
                    "error", shell.host.name, f"{join_port(address, port)} cannot be reached: {found}", hint
                )


def _try(shell: NamedShell, command: str) -> float | str:
    try:
        done = shell.run(command, timeout_s=WAIT_S + 5)
    except HostError as error:
        return error.what
    times = [int(line) for line in done.out.split() if line.isdigit()]
    if done.code or not times:
        return (done.err.strip().splitlines() or ["no answer"])[-1].rpartition(": ")[2]
    return min(times) / 1000


def count_consumers(own: OwnBroker, queues: Iterable[str], way: HostConnection) -> dict[str, int]:
    """Return the number of consumers of each queue at a broker, as a host reaches it.

    Raises:
        HostError: The broker does not answer, or refuses the question.
    """
    import amqp  # noqa: PLC0415 - as above

    from airfleet.peers import broker  # noqa: PLC0415

    try:
        with way.forward(own.host, own.port) as port:
            return broker.count_consumers(own, queues, way=port)
    except (amqp.AMQPError, OSError) as error:
        what = f"{join_port(own.host, own.port)} does not answer: {error or type(error).__name__}"
        raise HostError(what, where=way.host.name, hint="airfleet doctor") from None

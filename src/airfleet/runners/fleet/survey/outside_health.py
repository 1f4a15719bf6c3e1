"""The health of a fleet from outside: the health that the UI reports, and the consumers of each queue.

Hosts make the requests, through SSH, because this machine may reach only their SSH port.
"""

from __future__ import annotations

import enum
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from airfleet.components.health import LOOPBACK
from airfleet.components.host_model import RABBITMQ_METRICS, Place
from airfleet.components.rabbitmq.server import VHOST
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.survey import own_servers
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.runners.fleet.transport import http_request
from airfleet.spec.addresses import join_port
from airfleet.spec.fleet import Fleet
from airfleet_provider.contract import wording

PATIENCE_S = 60.0
ASK_S = 10
# Another host may be shut out by a firewall for a good reason. So several try, and at the end the host itself.
MOST_ASKED = 2
CONSUMERS = re.compile(
    r'^rabbitmq_detailed_queue_consumers\{.*?queue="(?P<queue>(?:[^"\\]|\\.)*)".*?\} (?P<count>\S+)$', re.M
)
COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


class Aspect(enum.Enum):
    """The kind of subject of an observation."""

    UI = enum.auto()
    ADDRESS = enum.auto()
    BROKER = enum.auto()
    QUEUE = enum.auto()
    BACKUP = enum.auto()
    DATABASE = enum.auto()
    SCHEMA = enum.auto()
    VERSION = enum.auto()
    OUTSIDE = enum.auto()


@dataclass(frozen=True, slots=True)
class HealthObservation:
    """The health of one subject, with a detail for people. `subject` names the queue, or the database host."""

    what: str
    is_well: bool
    detail: str
    aspect: Aspect = Aspect.UI
    subject: str = ""


def wait(
    fleet: Fleet, views: Iterable[HostView], clock: Callable[[], float], *, patience_s: float = PATIENCE_S
) -> tuple[HealthObservation, ...]:
    """Repeat `look` until all is healthy, for `patience_s` seconds at most, and return the last observations.

    After a start, heartbeats and consumers need some seconds.
    """
    end = clock() + patience_s
    listed = tuple(views)
    while True:
        seen = look(fleet, listed)
        if all(observation.is_well for observation in seen) or clock() > end:
            return seen
        time.sleep(1)


def look(fleet: Fleet, views: Iterable[HostView]) -> tuple[HealthObservation, ...]:
    """Return the UI's health through every balancer, who has the shared address, and the consumers of every queue."""
    by_name = {view.desired.place.host.name: view for view in views}
    edges = fleet.with_role("balancer") or fleet.with_role("web")
    seen: list[HealthObservation] = []
    for host in edges:
        scheme = "https" if fleet.tls else "http"
        others = [view for name, view in by_name.items() if name != host.name][:MOST_ASKED]
        own = [by_name[host.name]] if host.name in by_name else []
        seen += look_at_ui(f"{scheme}://{join_port(host.address, fleet.ports.api)}", (*others, *own))
    if fleet.balancer:
        balancers = [by_name[host.name] for host in fleet.with_role("balancer") if host.name in by_name]
        seen.append(_look_at_address(fleet.balancer, balancers))
    brokers = [by_name[host.name] for host in fleet.with_role("broker") if host.name in by_name]
    seen += _look_at_own_queues(fleet, by_name) if fleet.broker else _look_at_queues(fleet, brokers)
    return tuple(seen)


def _look_at_own_queues(fleet: Fleet, views: Mapping[str, HostView]) -> Iterator[HealthObservation]:
    """Yield the consumers of each queue at a RabbitMQ that somebody else runs, as a scheduler host reaches it."""
    way = next((views[host.name] for host in fleet.with_role("scheduler") if host.name in views), None)
    own = way.desired.place.credentials.broker if way else None
    if way is None or own is None:
        yield HealthObservation("broker", False, "no scheduler host answers, and the checks start there", Aspect.BROKER)
        return
    try:
        counts = own_servers.count_consumers(own, fleet.queues, way.connection)
    except AirfleetError as error:
        yield HealthObservation("broker", False, error.what, Aspect.BROKER)
        return
    yield from _judge_counts(fleet, counts)


def _judge_counts(fleet: Fleet, counts: Mapping[str, int]) -> Iterator[HealthObservation]:
    for queue in fleet.queues:
        count = counts.get(queue, 0)
        yield HealthObservation(f"queue {queue}", count > 0, wording.count(count, "worker"), Aspect.QUEUE, queue)


def _look_at_address(address: str, balancers: Iterable[HostView]) -> HealthObservation:
    """Report which balancer host has the address that they share. A host that does not answer is left out."""
    holders, silent = [], []
    for view in balancers:
        name = view.desired.place.host.name
        try:
            output = view.connection.run(f"ip -o -4 addr show to {address}", timeout_s=ASK_S)
        except AirfleetError:
            silent.append(name)
        else:
            holders += [name] if output.out.strip() else []
    what = f"address {address}"
    match holders:
        case [one]:
            return HealthObservation(what, True, f"at {one}", Aspect.ADDRESS, one)
        case [] if silent:
            return HealthObservation(what, False, f"not seen; {', '.join(silent)} did not answer", Aspect.ADDRESS)
        case []:
            return HealthObservation(what, False, "no balancer has it", Aspect.ADDRESS)
        case _:
            detail = f"at {' and '.join(holders)} at once: they do not hear each other"
            return HealthObservation(what, False, detail, Aspect.ADDRESS)


def look_at_ui(url: str, askers: Iterable[HostView]) -> list[HealthObservation]:
    """Return the health that the UI at an address reports to the first host that reaches it."""
    said = "no host can reach it"
    for view in askers:
        python = view.desired.place.machine.system.python
        script = http_request.build_tls_command(python, f"{url}/api/v2/monitor/health", timeout_s=ASK_S)
        try:
            output = view.connection.run(script, timeout_s=ASK_S + 5)
        except AirfleetError as error:
            said = error.what
            continue
        if output.code:
            said = (output.err.strip().splitlines() or ["does not answer"])[-1]
            continue
        return _judge_ui(url, output.out)
    return [HealthObservation(url, False, said)]


def _judge_ui(url: str, text: str) -> list[HealthObservation]:
    try:
        body = json.loads(text)
        states = {name: str((body.get(name) or {}).get("status") or "missing") for name in COMPONENTS}
    except (ValueError, AttributeError):
        return [HealthObservation(url, False, "its answer is not the health of Airflow")]
    parts = (HealthObservation(name.replace("_", "-"), state == "healthy", state) for name, state in states.items())
    return [HealthObservation(url, True, "answers"), *parts]


def _look_at_queues(fleet: Fleet, brokers: Sequence[HostView]) -> Iterator[HealthObservation]:
    """Yield the consumers of each queue. All nodes must answer, because each knows only the queues that it leads."""
    counts: dict[str, int] = {}
    silent = []
    for view in brokers:
        try:
            text = view.connection.check(ask_consumers(view.desired.place), what="checking RabbitMQ's queues")
        except AirfleetError:
            silent.append(view.desired.place.host.name)
        else:
            for queue, count in read_consumers(text).items():
                counts[queue] = max(count, counts.get(queue, 0))
    if silent:
        yield HealthObservation(
            "broker", False, f"RabbitMQ of {', '.join(silent)} does not report its queues", Aspect.BROKER
        )
    if len(silent) < len(brokers):
        yield from _judge_counts(fleet, counts)


def ask_consumers(place: Place) -> str:
    """Return a command for a node's own host that reads the metrics which Prometheus reads.

    `rabbitmqctl` would make every other node connect back to it, at ports that no firewall allows.
    """
    return ask_node(place.own_address, f"/metrics/detailed?vhost={VHOST}&family=queue_consumer_count", timeout_s=ASK_S)


def ask_node(address: str, path: str, *, timeout_s: float) -> str:
    """Return a command for a node's own host that prints a page of its metrics.

    The node serves them on the loopback, or at the host's address while monitor hosts still read them there.
    """
    commands = (
        http_request.build_command(one, RABBITMQ_METRICS, path, timeout_s=timeout_s, prints=True)
        for one in (LOOPBACK, address)
    )
    return f"({' || '.join(commands)})"


def read_consumers(text: str) -> dict[str, int]:
    """Return the number of consumers of each queue in a node's metrics."""
    found = CONSUMERS.finditer(text)
    return {one["queue"].replace('\\"', '"').replace("\\\\", "\\"): int(float(one["count"])) for one in found}

"""Whether RabbitMQ accepts messages, and who reads its queues: for `airfleet explain`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from airfleet.components import worker
from airfleet.components.model import OwnBroker
from airfleet.components.rabbitmq.server import VHOST
from airfleet.errors import AirfleetError
from airfleet.peers.sources import read_broker
from airfleet.runners.fleet.survey.outside_health import ask_node, read_consumers
from airfleet.runners.fleet.survey.own_servers import count_consumers
from airfleet.runners.fleet.transport.connection import HostConnection, HostError
from airfleet.runners.fleet.transport.shell import HostShell
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract.explanation.facts import BrokerState

ASK_S = 5
LOG_BYTES = 1 << 18
ALARMS = {
    "memory_used_watermark": "its memory is used up",
    "free_disk_space_watermark": "its disk is nearly full",
    "file_descriptor_limit": "it has no file descriptor left",
}
_GAUGE = re.compile(r"^rabbitmq_alarms_(?P<name>\w+?)(?:\{[^}\n]*\})? (?P<value>\S+)$", re.M)
# What RabbitMQ writes to its log when an alarm begins and ends.
_LOGGED = re.compile(r"(?P<resource>memory|disk) resource limit alarm (?P<change>set|cleared)")
_RESOURCES = {"memory": "memory_used_watermark", "disk": "free_disk_space_watermark"}


def read_fleet(fleet: Fleet, project: Path) -> BrokerState:
    """Return the state of a fleet's broker over SSH: from its metrics, or from a broker of somebody else itself."""
    if own := read_broker(fleet, project):
        return _ask_own(own, fleet, project)
    with ExitStack() as stack:
        shells = [HostShell(host, project) for host in fleet.with_role("broker")]
        for shell in shells:
            stack.callback(shell.close)
        with ThreadPoolExecutor(max(1, len(shells))) as pool:
            return combine(pool.map(_ask, shells))


def _ask_own(own: OwnBroker, fleet: Fleet, project: Path) -> BrokerState:
    way = HostConnection(fleet.with_role("scheduler")[0], project)
    try:
        way.open()
        return BrokerState(answers=True, consumers=count_consumers(own, fleet.queues, way))
    except HostError as error:
        return BrokerState(answers=False, why=error.what)
    finally:
        way.close()


def _ask(shell: HostShell) -> tuple[str, str | None]:
    try:
        output = shell.run(build_look(shell.host), timeout_s=4 * ASK_S + 5)
    except HostError:
        return shell.host.name, None
    return shell.host.name, output.out if output.code == 0 else None


def build_look(host: Host) -> str:
    """Return a command that prints the alarms of a node and the consumers of the queues that it leads."""

    def ask(path: str) -> str:
        return ask_node(host.address, path, timeout_s=ASK_S)

    consumers = f"/metrics/detailed?vhost={VHOST}&family=queue_consumer_count"
    return f"{ask('/metrics')} 2>/dev/null | grep ^rabbitmq_alarms_; {ask(consumers)}"


def combine(answers: Iterable[tuple[str, str | None]]) -> BrokerState:
    """Return the state of a broker from the metrics of its nodes by host, or None for a node that does not answer."""
    known = dict(answers)
    texts = {host: text for host, text in known.items() if text is not None}
    if not texts:
        return BrokerState(answers=False, why=f"no node of {', '.join(known) or 'no host'} answers")
    consumers: dict[str, int] = {}
    for text in texts.values():
        for queue, count in read_consumers(text).items():
            consumers[queue] = max(count, consumers.get(queue, 0))
    alarms = tuple(f"{host}: {alarm}" for host, text in texts.items() for alarm in _list_alarms(text))
    return BrokerState(answers=True, alarms=alarms, consumers=consumers)


def _list_alarms(text: str) -> Iterator[str]:
    for gauge in _GAUGE.finditer(text):
        if float(gauge["value"]) > 0:
            yield ALARMS.get(gauge["name"], gauge["name"])


def read_outside(fleet: Fleet, project: Path) -> BrokerState:
    """Return the state of the broker of somebody else that a platform on this machine uses."""
    import amqp  # noqa: PLC0415 - only such a platform needs it here

    from airfleet.peers import broker  # noqa: PLC0415

    try:
        own = read_broker(fleet, project)
        consumers = broker.count_consumers(own, worker.list_queues(fleet)) if own else {}
        return BrokerState(answers=True, consumers=consumers)
    except (AirfleetError, amqp.AMQPError, OSError) as error:
        return BrokerState(answers=False, why=str(error) or type(error).__name__)


def read_here(folder: StateFolder) -> BrokerState:
    """Return the state of the private node of a platform on this machine, from its process and its log."""
    snapshot = folder.read_snapshot()
    process = next((one for one in (snapshot.processes if snapshot else ()) if one.name == "rabbitmq"), None)
    if process is None or process.phase not in ("healthy", "running"):
        state = process.phase if process else "not running"
        return BrokerState(answers=False, why=f"its process is {state}")
    path = folder.logs / "rabbitmq.log"
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            return BrokerState(answers=True, alarms=find_alarms(file.read()))
    except OSError:
        return BrokerState(answers=True)


def find_alarms(log: str) -> tuple[str, ...]:
    """Return the alarms that RabbitMQ has set and not cleared, by its log."""
    last = {found["resource"]: found["change"] for found in _LOGGED.finditer(log)}
    return tuple(ALARMS[_RESOURCES[resource]] for resource, change in last.items() if change == "set")

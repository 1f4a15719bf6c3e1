"""How a fleet looks from outside: what a user would see, and whether somebody serves every queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import httpx

from airfleet.components.hosts.rabbitmq import VHOST
from airfleet.errors import AirfleetError
from airfleet.runners.ssh.inspect import View
from airfleet.spec.fleet import Fleet

PATIENCE_S = 60.0
COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


@dataclass(frozen=True, slots=True)
class Sight:
    """One thing that was looked at: whether it is well, and what was seen."""

    what: str
    is_well: bool
    detail: str


def wait(
    fleet: Fleet, views: Iterable[View], clock: Callable[[], float], *, patience_s: float = PATIENCE_S
) -> tuple[Sight, ...]:
    """What is seen once all is well, or when patience ends: heartbeats and consumers need some seconds."""
    end = clock() + patience_s
    listed = tuple(views)
    while True:
        seen = look(fleet, listed)
        if all(sight.is_well for sight in seen) or clock() > end:
            return seen
        time.sleep(1)


def look(fleet: Fleet, views: Iterable[View]) -> tuple[Sight, ...]:
    """The UI's own health through every balancer, and the consumers of every queue."""
    by_name = {view.desired.place.host.name: view for view in views}
    edges = fleet.with_role("balancer") or fleet.with_role("web")
    seen: list[Sight] = []
    for host in edges:
        scheme = "https" if fleet.tls else "http"
        seen += look_at_ui(f"{scheme}://{host.address}:{fleet.ports.api}")
    for host in fleet.with_role("broker")[:1]:
        if host.name in by_name:
            seen += _look_at_queues(fleet, by_name[host.name])
    return tuple(seen)


def look_at_ui(url: str) -> list[Sight]:
    """What the UI says of itself at an address; a certificate that this machine does not trust is not its fault."""
    try:
        answer = httpx.get(f"{url}/api/v2/monitor/health", timeout=10, verify=False)  # noqa: S501
        body = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        return [Sight(url, False, str(error) or type(error).__name__)]
    seen = [Sight(url, True, "answers")]
    for name in COMPONENTS:
        status = (body.get(name) or {}).get("status") or "missing"
        seen.append(Sight(name.replace("_", "-"), status == "healthy", str(status)))
    return seen


def _look_at_queues(fleet: Fleet, view: View) -> list[Sight]:
    command = f"HOME=/var/lib/rabbitmq rabbitmqctl -q list_queues -p {VHOST} --no-table-headers name consumers"
    node = next(
        (service.env["RABBITMQ_NODENAME"] for service in view.desired.services if service.name == "rabbitmq"), ""
    )
    long = "-l" if "." in node else ""
    try:
        text = view.connection.check(command.replace("rabbitmqctl", f"rabbitmqctl {long} -n {node}"), what="the broker")
    except AirfleetError:
        return [Sight("broker", False, "does not tell its queues")]
    consumers = {words[0]: words[1] for line in text.splitlines() if len(words := line.split()) == 2}
    return [
        Sight(f"queue {queue}", consumers.get(queue, "0") not in ("", "0"), f"{consumers.get(queue, '0')} workers")
        for queue in fleet.queues
    ]

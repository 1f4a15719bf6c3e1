"""How a fleet looks to its users: what the UI says of itself, and whether somebody serves every queue.

The hosts are asked to look, through SSH: this machine may reach nothing else of them.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from airfleet.components.hosts.rabbitmq import VHOST
from airfleet.errors import AirfleetError
from airfleet.runners.ssh.inspect import View
from airfleet.spec.fleet import Fleet

PATIENCE_S = 60.0
ASK_S = 10
# A host may be shut out from another one for good reason, so some are asked, and in the end the one in question.
MOST_ASKED = 2
# A certificate that the hosts do not trust is not the UI's fault.
ASK = f"""\
import ssl, sys, urllib.request
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
handlers = urllib.request.ProxyHandler({{}}), urllib.request.HTTPSHandler(context=context)
try:
    with urllib.request.build_opener(*handlers).open(sys.argv[1], timeout={ASK_S}) as answer:
        sys.stdout.write(answer.read().decode())
except (OSError, ValueError) as error:
    sys.exit(str(error) or type(error).__name__)
"""
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
    """The UI's own health through every balancer, as another host sees it, and the consumers of every queue."""
    by_name = {view.desired.place.host.name: view for view in views}
    edges = fleet.with_role("balancer") or fleet.with_role("web")
    seen: list[Sight] = []
    for host in edges:
        scheme = "https" if fleet.tls else "http"
        others = [view for name, view in by_name.items() if name != host.name][:MOST_ASKED]
        own = [by_name[host.name]] if host.name in by_name else []
        seen += look_at_ui(f"{scheme}://{host.address}:{fleet.ports.api}", (*others, *own))
    for host in fleet.with_role("broker")[:1]:
        if host.name in by_name:
            seen += _look_at_queues(fleet, by_name[host.name])
    return tuple(seen)


def look_at_ui(url: str, askers: Iterable[View]) -> list[Sight]:
    """What the UI at an address says of itself to the first of some hosts that reaches it."""
    said = "no host is there to ask it"
    for view in askers:
        script = f"{view.desired.place.machine.system.python} -c {shlex.quote(ASK)} {url}/api/v2/monitor/health"
        try:
            output = view.connection.run(script, timeout_s=ASK_S + 5)
        except AirfleetError as error:
            said = error.what
            continue
        if output.code:
            said = (output.err.strip().splitlines() or ["does not answer"])[-1]
            continue
        return _judge_ui(url, output.out)
    return [Sight(url, False, said)]


def _judge_ui(url: str, text: str) -> list[Sight]:
    try:
        body = json.loads(text)
        states = {name: str((body.get(name) or {}).get("status") or "missing") for name in COMPONENTS}
    except (ValueError, AttributeError):
        return [Sight(url, False, "what it says is not the health of Airflow")]
    parts = (Sight(name.replace("_", "-"), state == "healthy", state) for name, state in states.items())
    return [Sight(url, True, "answers"), *parts]


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

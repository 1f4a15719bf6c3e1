"""A RabbitMQ that somebody else runs: the URLs of its clients, and the job that makes queues and logins (ADR 88)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from airfleet.components.host_model import BROKER_AUTHORITIES, SERVER_USER, Job, Place, Stage
from airfleet.components.model import BrokerLink, Component, File, OutsideBroker, OwnBroker, Process, Site
from airfleet.components.rabbitmq import permissions
from airfleet.components.rabbitmq.permissions import BrokerLogin
from airfleet.spec.secrets import Secret, find_login

NAME = "own-broker"
PROGRAM = "airfleet_provider.own_broker"


def find(place: Place) -> OwnBroker | None:
    """Return the broker as a host sees it, or None where airfleet runs RabbitMQ itself."""
    own = place.credentials.broker
    return own.at(BROKER_AUTHORITIES) if own else None


def name_login(broker: OwnBroker, name: str) -> str:
    """Return the name of a login: users of a RabbitMQ are common to all its virtual hosts."""
    return f"{broker.vhost}-{name}"


def url(broker: OwnBroker, user: str, password: Secret) -> Secret:
    """Return the URL for Celery. Without the management API, all processes share the login of the owner's URL."""
    if broker.management is None:
        return broker.url()
    return replace(broker, user=find_login(name_login(broker, user), password), password=password).url()


def find_authorities(broker: OwnBroker) -> Path | None:
    """Return the file of the authorities on a host; None stands for those of the system, or for no TLS."""
    return BROKER_AUTHORITIES if broker.authorities and broker.has_tls else None


def list_jobs(place: Place, logins: tuple[BrokerLogin, ...]) -> tuple[Job, ...]:
    """Return the job of the first scheduler host; none where airfleet runs RabbitMQ itself."""
    own = find(place)
    if own is None:
        return ()
    order = _build_order(own, place.fleet.queues, logins, place.credentials.former_pools)
    command = f"{place.runtime}/bin/python -m {PROGRAM}"
    script = Secret(f"{command} <<'END_OF_ORDER'\n{json.dumps(order)}\nEND_OF_ORDER\n")
    return (Job(NAME, "queues and logins at your RabbitMQ", Stage.DATABASES, script, SERVER_USER),)


def _build_order(
    own: OwnBroker, queues: Iterable[str], logins: Iterable[BrokerLogin], former_pools: Iterable[str] = ()
) -> dict[str, object]:
    """Return what the program makes: the queues, and with the management API the logins."""
    named = [replace(one, name=name_login(own, one.name)) for one in logins] if own.management else []
    body = json.loads(permissions.render_definitions(own.vhost, named, (), "quorum"))
    former = "|".join(name_login(own, f"{permissions.CONSUMER}{pool}") for pool in former_pools)
    prefix = name_login(own, "")
    return {
        "broker": asdict(own.address),
        "queues": list(queues),
        "consumer_timeout_ms": permissions.CONSUMER_TIMEOUT_MS,
        "management": own.management.reveal() if own.management else "",
        "users": body["users"],
        "permissions": body["permissions"],
        "ours": f"{prefix}({permissions.PUBLISHER}|{permissions.CONSUMER}.+)([.][0-9]+)?",
        "draining": f"({former})([.][0-9]+)?" if former else permissions.NOTHING,
    }


def link_one_machine(site: Site, outside: OutsideBroker, names: tuple[str, ...]) -> BrokerLink:
    """Return what the processes of one machine need. A process that runs once makes the queues `names`."""
    own = outside.broker
    logins = (permissions.publisher(outside.publisher), permissions.consumer("default", outside.consumer, names))
    order = File(outside.folder / "own-broker.json", Secret(json.dumps(_build_order(own, names, logins)) + "\n"))
    process = Process(
        # Others start after the process of this name.
        name="rabbitmq",
        commands=((str(site.python), "-m", PROGRAM, str(order.path)),),
        once=True,
    )
    publisher, consumer = (url(own, login.name, login.password) for login in logins)
    return BrokerLink(
        server=Component(name="rabbitmq", processes=(process,), files=(order,)),
        folder=outside.folder,
        publisher=publisher,
        consumer=consumer,
        kind="quorum",
        signing=outside.signing,
        authorities=Path(own.file) if own.has_tls and own.file else None,
    )

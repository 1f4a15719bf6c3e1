"""A RabbitMQ that somebody else runs: what its URL says, and what airfleet misses there.

The checks leave nothing behind. Each finding says what is wrong, and how the owner of the server mends it.
"""

from __future__ import annotations

import re
import ssl
import statistics
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import amqp

from airfleet.components.model import OwnBroker
from airfleet.components.rabbitmq import permissions
from airfleet.errors import UsageError
from airfleet.peers.findings import judge_round_trip
from airfleet.spec.addresses import join_port
from airfleet.spec.secrets import Secret
from airfleet.workspace.diagnosis import Diagnosis, Level
from airfleet_provider.contract import own_broker
from airfleet_provider.contract.own_broker import ManagementApi, ManagementError

WHERE = "fleet.yaml: broker.url"
SUBJECT = "broker"
# Quorum queues of earlier versions lose their leader for longer than Celery waits.
LEAST_VERSION = (3, 10)
# Seconds. A longer heartbeat finds a lost connection later than a lost task is run again.
LONGEST_HEARTBEAT_S = 120
CHECK_EXPIRES_MS = 60_000
PINGS = 5
LOCAL = ("127.0.0.1", "localhost")
_FORM = "amqps://login:password@host:5671/vhost"
_NAME = re.compile("[A-Za-z0-9_-]{1,60}")


def read(url: Secret, management: Secret | None = None, authorities: Path | None = None) -> OwnBroker:
    """Return the broker that a URL names.

    Raises:
        UsageError: It is no URL of RabbitMQ, or leaves something out. The text never has the URL.
    """
    try:
        parts = urlsplit(url.reveal())
        port = parts.port
    except ValueError:
        raise UsageError("this is no URL of RabbitMQ", where=WHERE, hint=_FORM) from None
    if parts.scheme not in ("amqp", "amqps"):
        raise UsageError("this is no URL of RabbitMQ", where=WHERE, hint=_FORM)
    missing = [name for name, one in (("host", parts.hostname), ("login", parts.username)) if not one]
    missing += [] if parts.password else ["password"]
    if missing:
        raise UsageError(f"the URL names no {' and no '.join(missing)}", where=WHERE, hint=_FORM)
    if parts.query or parts.fragment:
        raise UsageError("the URL has more than a virtual host after the address", where=WHERE, hint=_FORM)
    if "@" in (parts.password or "") or "/" in unquote(parts.hostname or ""):
        hint = "in the password, write % as %25, @ as %40 and / as %2F"
        raise UsageError("the password of the URL has an at sign", where=WHERE, hint=hint)
    vhost = unquote(parts.path.removeprefix("/"))
    if not _NAME.fullmatch(vhost):
        hint = "let its owner make one for this platform: rabbitmqctl add_vhost airfleet"
        raise UsageError("the URL names no virtual host of letters, digits, - and _", where=WHERE, hint=hint)
    has_tls = parts.scheme == "amqps"
    text = ""
    if authorities:
        try:
            text = authorities.read_text()
        except OSError as error:
            what = f"the file {authorities} cannot be read: {error.strerror}"
            raise UsageError(
                what, where="fleet.yaml: broker.authorities", hint="it is relative to the project"
            ) from None
    if management:
        _require_api(management)
    return OwnBroker(
        host=str(parts.hostname),
        port=port or (5671 if has_tls else 5672),
        vhost=vhost,
        user=unquote(str(parts.username)),
        password=Secret(unquote(str(parts.password))),
        has_tls=has_tls,
        authorities=text,
        file=str(authorities or ""),
        management=management,
    )


def _require_api(url: Secret) -> None:
    where, form = "fleet.yaml: broker.management", "https://login:password@host:15671"
    try:
        parts = urlsplit(url.reveal())
        words = (parts.hostname, parts.username, parts.password)
        is_complete = parts.scheme in ("http", "https") and all(words) and parts.port != 0
    except ValueError:
        is_complete = False
    if not is_complete:
        raise UsageError("this is no URL of a management API with a login", where=where, hint=form)


def examine(
    broker: OwnBroker, queues: Iterable[str], *, way: int = 0, api_way: int = 0, tries_queue: bool = True
) -> list[Diagnosis]:
    """Make all checks. `way` and `api_way` are ports of this machine that lead to the broker and to its API, or 0.

    Without `tries_queue` they only read: what the login may do and whether messages arrive is not known then.
    """
    found = [*_examine_connection(broker, tuple(queues), way, tries_queue=tries_queue)]
    if broker.management:
        found += _examine_api(broker, api_way)
    return found


def count_consumers(broker: OwnBroker, queues: Iterable[str], *, way: int = 0) -> dict[str, int]:
    """Return the number of consumers of each queue that is there.

    Raises:
        OSError: The broker does not answer.
        amqp.AMQPError: It refuses the login, or the question.
    """
    counts = {}
    with amqp.Connection(**broker.address.options(way)) as connection:
        for name in queues:
            with suppress(amqp.NotFound):
                counts[name] = int(connection.channel().queue_declare(name, passive=True).consumer_count)
    return counts


def _say(level: Level, what: str, hint: str = "") -> Diagnosis:
    return Diagnosis(level, SUBJECT, what, hint)


def _examine_connection(
    broker: OwnBroker, queues: tuple[str, ...], way: int, *, tries_queue: bool
) -> Iterator[Diagnosis]:
    place = join_port(broker.host, broker.port)
    try:
        connection = amqp.Connection(**broker.address.options(way))
        connection.connect()
    except amqp.NotAllowed:
        hint = f"rabbitmqctl add_vhost {broker.vhost}; {_grant(broker)}"
        yield _say("error", f"the login {broker.user} may not enter the virtual host {broker.vhost}", hint)
        return
    except amqp.AccessRefused:
        hint = f"rabbitmqctl add_user {broker.user} PASSWORD; {_grant(broker)}"
        yield _say("error", f"{place} refuses the login {broker.user} or its password", hint)
        return
    except ssl.SSLError as error:
        what = f"{place}: {getattr(error, 'verify_message', '') or error.reason or 'no TLS'}"
        yield _say(
            "error",
            what,
            "name the file of its authorities under `broker.authorities`, and the host by its certificate",
        )
        return
    except (amqp.AMQPError, OSError) as error:
        hint = "is it up, and is the port right (5671 with TLS, 5672 without)?"
        yield _say("error", f"{place} does not speak AMQP: {error or type(error).__name__}", hint)
        return
    with connection:
        yield from _judge_server(broker, connection)
        if tries_queue:
            yield from _judge_rights(broker, connection)
        yield from _judge_queues(connection, queues)
        if not way:
            yield _judge_latency(connection)


def _grant(broker: OwnBroker) -> str:
    return f"rabbitmqctl set_permissions -p {broker.vhost} {broker.user} '.*' '.*' '.*'"


def _judge_server(broker: OwnBroker, connection: amqp.Connection) -> Iterator[Diagnosis]:
    properties = connection.server_properties
    product, version = str(properties.get("product", "")), str(properties.get("version", ""))
    number = own_broker.read_version(properties)
    least = ".".join(map(str, LEAST_VERSION))
    if product != "RabbitMQ" or number < LEAST_VERSION:
        yield _say("error", f"it is {product or 'another server'} {version}", f"use RabbitMQ {least} or later")
    else:
        yield _say("ok", f"RabbitMQ {version}")
    if number < own_broker.TIMEOUT_OF_QUEUE:
        hint = f"in its rabbitmq.conf: consumer_timeout = {permissions.CONSUMER_TIMEOUT_MS}"
        yield _say("warning", f"RabbitMQ {version} may take back the message of a task that runs for 30 minutes", hint)
    offered = int(connection.server_heartbeat or 0)
    if not 0 < offered <= LONGEST_HEARTBEAT_S:
        what = f"its heartbeat is {offered} s" if offered else "it sends no heartbeat"
        yield _say(
            "warning", f"{what}, so that a lost connection is found late", "in its rabbitmq.conf: heartbeat = 60"
        )
    if not (broker.has_tls or broker.host in LOCAL):
        yield _say("warning", "passwords and messages cross the network in clear", f"write {_FORM}")


def _judge_rights(broker: OwnBroker, connection: amqp.Connection) -> Iterator[Diagnosis]:
    """Make a replicated queue that nobody knows, send a message through it, and remove it."""
    name = f"airfleet-check-{uuid.uuid4().hex}"
    made = False
    try:
        channel = connection.channel()
        arguments = {"x-queue-type": "quorum", "x-expires": CHECK_EXPIRES_MS}
        channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
        made = True
        channel.confirm_select()
        channel.basic_publish_confirm(amqp.Message(b"{}"), exchange="", routing_key=name)
        arrived = channel.basic_get(name, no_ack=True)
        yield (
            _say("ok", "a message goes through a quorum queue")
            if arrived
            else _say("error", "a message that it confirmed is not in its queue", "look at its log")
        )
    except amqp.AccessRefused:
        what = f"the login {broker.user} may not make queues, send to them and read them in {broker.vhost}"
        yield _say("error", what, _grant(broker))
    except (amqp.AMQPError, OSError) as error:
        hint = "tasks wait in queues with a copy on several nodes (x-queue-type: quorum): let it allow them"
        yield _say("error", f"it makes no quorum queue: {error}", hint)
    finally:
        if made:
            with suppress(amqp.AMQPError, OSError):  # it expires by itself
                connection.channel().queue_delete(name)


def _judge_latency(connection: amqp.Connection) -> Diagnosis:
    times = []
    for _ in range(PINGS):
        begun = time.perf_counter()
        connection.channel()  # its opening is answered
        times.append((time.perf_counter() - begun) * 1000)
    return judge_round_trip(SUBJECT, statistics.median(times))


def _judge_queues(connection: amqp.Connection, queues: tuple[str, ...]) -> Iterator[Diagnosis]:
    """Check that a queue with the name of one of the fleet's is a quorum queue. A classic one loses tasks."""
    for name in queues:
        try:
            connection.channel().queue_declare(name, passive=True)
        except (amqp.AMQPError, OSError):  # a job makes it; what else is wrong was found before
            continue
        try:
            connection.channel().queue_declare(
                name, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
            )
        except amqp.PreconditionFailed as error:
            if "x-queue-type" in str(error) or "durable" in str(error):
                hint = f"when it is empty: rabbitmqctl delete_queue -p {connection.virtual_host} {name}"
                yield _say("error", f"the queue {name} is there, and is no quorum queue", hint)
        except (amqp.AMQPError, OSError):
            continue


def _examine_api(broker: OwnBroker, way: int) -> Iterator[Diagnosis]:
    assert broker.management is not None  # noqa: S101 - the caller looked
    url = broker.management.reveal()
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOCAL:
        hint = "write https://login:password@host:15671"
        yield _say("warning", "the login of its management API crosses the network in clear", hint)
    api = ManagementApi(url, broker.file, way)
    try:
        who = api.call("GET", "whoami") or {}
        tags = who.get("tags") or ""
        listed = tags if isinstance(tags, list) else str(tags).split(",")
        if "administrator" not in listed:
            what = f"the login {who.get('name', '')} of the management API may not make logins"
            yield _say("error", what, f"rabbitmqctl set_user_tags {who.get('name', 'LOGIN')} administrator")
            return
        if api.call("GET", "vhosts", broker.vhost) is None:
            what = f"its management API knows no virtual host {broker.vhost}"
            yield _say("error", what, "is it the API of the same broker?")
        nodes = api.call("GET", "nodes") or []
    except ManagementError as error:
        hint = "is the plugin rabbitmq_management on, and may this login use it?"
        yield _say("error", f"its management API: {error}", hint)
        return
    running = [one for one in nodes if one.get("running")]
    alarms = [one["name"] for one in running if one.get("mem_alarm") or one.get("disk_free_alarm")]
    if alarms:
        yield _say(
            "error", f"{', '.join(alarms)} has no memory or disk left, and takes no message", "give it more of both"
        )
    if len(running) < 3:
        what = f"{len(running)} of its {len(nodes)} nodes run: a queue stops when one more is lost"
        yield _say("warning", what, "three nodes keep a queue when one of them is lost")
    else:
        yield _say("ok", f"{len(running)} nodes run")

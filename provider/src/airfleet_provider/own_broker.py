"""`python -m airfleet_provider.own_broker`: the queues and logins of a fleet at a RabbitMQ of somebody else (ADR 88).

It reads its order as JSON from the file that is its argument, or from standard input: the order holds passwords. It may
run any number of times.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import amqp

from airfleet_provider.contract import own_broker
from airfleet_provider.contract.own_broker import BrokerAddress, ManagementApi, ManagementError
from airfleet_provider.contract.text import one_line


def main() -> None:
    """Carry out the order in the file that is named, or on standard input.

    Raises:
        SystemExit: The broker refuses something; the reason is printed, without a password.
    """
    try:
        prepare(json.loads(Path(sys.argv[1]).read_text() if sys.argv[1:] else sys.stdin.read()))
    except (amqp.AMQPError, ManagementError, OSError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SystemExit(f"airfleet: {one_line(said)}") from None


def prepare(order: Mapping[str, Any]) -> None:
    """Make the queues, and with the management API a login for each of their users."""
    broker = BrokerAddress(**order["broker"])
    make_queues(broker, order["queues"], order["consumer_timeout_ms"])
    if url := order["management"]:
        make_logins(ManagementApi(url, broker.authorities), broker.vhost, order["users"], order["permissions"])
        valid = {user["name"] for user in order["users"]}
        end_logins(ManagementApi(url, broker.authorities), broker.vhost, valid, order["ours"], order["draining"])


def make_queues(broker: BrokerAddress, names: list[str], consumer_timeout_ms: int) -> None:
    """Make the queues that are not there. A queue that is there stays as it is, with its messages."""
    with amqp.Connection(**broker.options()) as connection:
        arguments = own_broker.list_arguments(connection.server_properties, consumer_timeout_ms)
        for name in names:
            try:
                connection.channel().queue_declare(name, passive=True)
            except amqp.NotFound:  # the broker has closed this channel
                connection.channel().queue_declare(name, durable=True, auto_delete=False, arguments=arguments)


def make_logins(api: ManagementApi, vhost: str, users: list[dict[str, str]], permissions: list[dict[str, str]]) -> None:
    """Give each user its password, as a hash, and its rights in the virtual host."""
    for user in users:
        api.call("PUT", "users", user["name"], body={key: value for key, value in user.items() if key != "name"})
    for right in permissions:
        body = {key: right[key] for key in ("configure", "write", "read")}
        api.call("PUT", "permissions", vhost, right["user"], body=body)


def end_logins(api: ManagementApi, vhost: str, valid: Collection[str], ours: str, draining: str) -> None:
    """Remove the logins of this fleet that are no longer valid, and end their connections.

    A login with rights in another virtual host, or in none, is not of this fleet, whatever its name is.
    """
    for user in api.call("GET", "users") or ():
        name = user["name"]
        if not re.fullmatch(ours, name) or name in valid or re.fullmatch(draining, name):
            continue
        if {one["vhost"] for one in api.call("GET", "users", name, "permissions") or ()} != {vhost}:
            continue
        api.call("DELETE", "users", name)
        for one in api.call("GET", "connections", "username", name) or ():
            api.call("DELETE", "connections", one["name"])


if __name__ == "__main__":
    main()

"""A private RabbitMQ node for the stock system, with the same server program as airfleet's."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from airfleet.components.model import BrokerNode, BrokerPorts, reveal
from airfleet.components.rabbitmq import private_node
from airfleet.components.rabbitmq.permissions import BrokerLogin, hash_password
from airfleet.runners.local.rabbitmq import find_programs
from airfleet.spec.secrets import Secret
from airfleet.workspace.state_folder import write_file
from stock.crew import Crew, find_ports, is_listening, wait

USER = "airflow"
ERLANG_ARGUMENTS = "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"


def start(crew: Crew, folder: Path) -> str:
    """Start a node with default settings, except for its addresses, and return its URL.

    The node has one user with all rights, because the workers of stock Airflow declare their queues themselves.
    """
    folder.mkdir()
    programs = find_programs()
    password = Secret(secrets.token_urlsafe(24))
    unused = Secret(secrets.token_urlsafe(24))  # the logins of airfleet's scheduler and workers do not exist here
    node = BrokerNode(
        name=f"bench-{secrets.token_hex(4)}",
        folder=folder,
        server=programs.server,
        names_server=programs.names_server,
        ports=BrokerPorts(*find_ports(3)),
        publisher=unused,
        consumer=unused,
        cookie=Secret(secrets.token_hex(20)),
        signing=unused,
    )
    component = private_node.describe(node, ())
    for file in component.files:
        write_file(file.path, reveal(file.content), mode=file.mode)
    write_file(folder / "definitions.json", render_definitions(password))
    for process in component.processes:
        env = {**os.environ, **{key: reveal(value) for key, value in process.env.items()}}
        env[ERLANG_ARGUMENTS] = env[ERLANG_ARGUMENTS].replace(private_node.CALM, "")
        crew.start(process.name, [reveal(word) for word in process.commands[0]], env)
        port = node.ports.names if process.name == "epmd" else node.ports.amqp
        wait(lambda: is_listening(port), process.name, crew=crew)  # noqa: B023 - called now
    return private_node.url(node, BrokerLogin(USER, password)).reveal()


def render_definitions(password: Secret) -> str:
    """Return definitions with one virtual host, and one user with all rights in it."""
    user = {
        "name": USER,
        "password_hash": hash_password(USER, password),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": "",
    }
    rights = {"user": USER, "vhost": private_node.VHOST, "configure": ".*", "write": ".*", "read": ".*"}
    return json.dumps({"vhosts": [{"name": private_node.VHOST}], "users": [user], "permissions": [rights]}, indent=1)

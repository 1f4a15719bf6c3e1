"""A private RabbitMQ node for the stock system, of the same server as airfleet's."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path

from airfleet.components import rabbitmq
from airfleet.components.base import Component, reveal
from airfleet.runners.local.rabbitmq import find_programs
from airfleet.runners.local.state import write_file
from airfleet.spec.secrets import Secret
from stock.crew import Crew, find_ports, is_listening, wait


def start(crew: Crew, folder: Path) -> str:
    """Start a node with RabbitMQ's own settings, apart from where it listens; its URL."""
    folder.mkdir()
    programs = find_programs()
    node = rabbitmq.Node(
        name=f"bench-{secrets.token_hex(4)}",
        folder=folder,
        server=programs.server,
        names_server=programs.names_server,
        ports=rabbitmq.Ports(*find_ports(3)),
        password=Secret(secrets.token_urlsafe(24)),
        cookie=Secret(secrets.token_hex(20)),
    )
    component = _untune(rabbitmq.describe(node))
    for file in component.files:
        write_file(file.path, reveal(file.content), mode=file.mode)
    for process in component.processes:
        env = {**os.environ, **{key: reveal(value) for key, value in process.env.items()}}
        crew.start(process.name, [reveal(word) for word in process.commands[0]], env)
        port = node.ports.names if process.name == "epmd" else node.ports.amqp
        wait(lambda: is_listening(port), process.name, crew=crew)  # noqa: B023 - called now
    return node.url.reveal()


def _untune(component: Component) -> Component:
    key = "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"
    return replace(
        component,
        processes=tuple(
            replace(one, env={**one.env, key: reveal(one.env.get(key, "")).replace(rabbitmq.CALM, "")})
            for one in component.processes
        ),
    )

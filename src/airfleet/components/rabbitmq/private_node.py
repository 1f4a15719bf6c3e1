"""The broker of a platform on one machine: one RabbitMQ node, private to its platform."""

from __future__ import annotations

from typing import Final

from airfleet.components.health import TcpCheck
from airfleet.components.model import BrokerLink, BrokerNode, Component, File, Process
from airfleet.components.rabbitmq import permissions
from airfleet.spec.secrets import Secret
from airfleet.template import render_template

VHOST = "airflow"
QUEUE_TYPE: Final = "classic"
HOST = "127.0.0.1"
# Erlang's schedulers spin for a while before they sleep. These options stop that, to leave the CPU to tasks.
CALM = "+sbwt none +sbwtdcpu none +sbwtdio none"


def url(node: BrokerNode, login: permissions.BrokerLogin) -> Secret:
    """Return the URL for Celery. Passwords are URL-safe characters."""
    return Secret(f"amqp://{login.name}:{login.password.reveal()}@{HOST}:{node.ports.amqp}/{VHOST}")


def list_logins(node: BrokerNode, names: tuple[str, ...]) -> tuple[permissions.BrokerLogin, permissions.BrokerLogin]:
    """Return the logins of the scheduler and of the worker. The worker reads the queues `names`."""
    return permissions.publisher(node.publisher), permissions.consumer("default", node.consumer, names)


def describe(node: BrokerNode, names: tuple[str, ...]) -> Component:
    """Describe a node with the queues `names` and two users of one virtual host, without a default user.

    Its only plugin is the one that serves metrics, if it has a port for that.
    """
    config = node.folder / "rabbitmq.conf"
    plugins = node.folder / "enabled_plugins"
    definitions = node.folder / "definitions.json"
    settings = render_template(
        __package__,
        "private_node.conf",
        address=HOST,
        port=node.ports.amqp,
        definitions=definitions,
        consumer_timeout_ms=permissions.CONSUMER_TIMEOUT_MS,
        metrics=node.ports.metrics,
    )
    env: dict[str, str | Secret] = {
        "HOME": str(node.folder),  # Erlang reads its cookie from HOME
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_EPMD_PORT": str(node.ports.names),
        "RABBITMQ_NODENAME": f"{node.name}@localhost",
        "RABBITMQ_DIST_PORT": str(node.ports.nodes),
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        "RABBITMQ_MNESIA_BASE": str(node.folder / "data"),
        "RABBITMQ_LOG_BASE": str(node.folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(node.folder / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{127,0,0,1}} {CALM}",
    }
    names_server = Process(
        name="epmd", commands=((str(node.names_server),),), health=TcpCheck(node.ports.names), env=env
    )
    server = Process(
        name="rabbitmq",
        commands=((str(node.server),),),
        health=TcpCheck(node.ports.amqp),
        after=("epmd",),
        env=env,
        url=f"amqp://{HOST}:{node.ports.amqp}",
        stop_timeout_s=20,
    )
    files = (
        File(config, settings),
        File(definitions, Secret(permissions.render_definitions(VHOST, list_logins(node, names), names, QUEUE_TYPE))),
        File(plugins, "[rabbitmq_prometheus].\n" if node.ports.metrics else "[].\n"),
        File(node.folder / ".erlang.cookie", node.cookie),
    )
    return Component(name="rabbitmq", processes=(names_server, server), files=files)


def link(node: BrokerNode, names: tuple[str, ...]) -> BrokerLink:
    """Return what the scheduler and the worker need of a node with the queues `names`."""
    publisher, consumer = (url(node, login) for login in list_logins(node, names))
    return BrokerLink(describe(node, names), node.folder, publisher, consumer, QUEUE_TYPE, node.signing)

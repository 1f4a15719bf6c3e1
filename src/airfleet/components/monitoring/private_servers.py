"""Prometheus and Alertmanager of a platform on one machine, for `airfleet up --monitor`.

Other users of the machine reach the loopback, and so does every page in a browser. So both servers ask for a password,
which a page does not know: who reaches Alertmanager could silence every alert.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from airfleet.components.health import LOOPBACK, HttpCheck
from airfleet.components.model import Component, File, Process
from airfleet.components.monitoring import alertmanager, grafana, rule_files
from airfleet.components.monitoring.prometheus import (
    OPTIONS,
    ScrapeJob,
    ScrapeTarget,
    render_config,
    scrape_agents,
    scrape_brokers,
)
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from airfleet.spec.sections.hosts import bytes_of
from airfleet_provider.contract.notification_policy import derive_webhook_token

# The user that both servers know.
USER = "airfleet"


@dataclass(frozen=True, slots=True)
class MonitorNode:
    """The servers of one platform: their programs, their ports on the loopback, their folder and their password.

    `hashed` is the password as the servers keep it: its bcrypt hash.
    """

    folder: Path
    prometheus: Path
    alertmanager: Path
    prometheus_port: int
    alertmanager_port: int
    password: Secret
    hashed: str = field(repr=False)


def describe(
    fleet: Fleet,
    node: MonitorNode,
    agents_port: int,
    jwt_secret: Secret,
    *,
    log_agent_port: int = 0,
    broker_port: int = 0,
) -> Component:
    """Describe both servers. They listen on the loopback, and start when the agents answer.

    `broker_port` is where RabbitMQ serves its metrics. A port of 0 means that there is no such server.
    """
    rules, token, password = (node.folder / name for name in ("rules", "token", "password"))
    login = (USER, password)
    jobs = (
        scrape_agents(_target(fleet, agents_port)),
        *((ScrapeJob("logs", _target(fleet, log_agent_port)),) if log_agent_port else ()),
        *(scrape_brokers(ScrapeJob("rabbitmq", _target(fleet, broker_port))) if broker_port else ()),
        ScrapeJob("prometheus", _target(fleet, node.prometheus_port), login=login),
        alertmanagers := ScrapeJob("alertmanager", _target(fleet, node.alertmanager_port), login=login),
    )
    config = File(
        node.folder / "prometheus.yml",
        render_config(fleet.name, jobs, alertmanagers, rules),
    )
    passing = File(
        node.folder / "alertmanager.yml", alertmanager.render_config([f"http://{LOOPBACK}:{agents_port}"], token)
    )
    url = f"http://{LOOPBACK}:{node.prometheus_port}"
    boards = grafana.list_files(node.folder / "grafana", url, login=(USER, node.password))
    files = (
        config,
        passing,
        web := File(node.folder / "web.yml", Secret(yaml.safe_dump({"basic_auth_users": {USER: node.hashed}}))),
        File(password, node.password),
        File(token, Secret(derive_webhook_token(jwt_secret.reveal()))),
        *(File(rules / name, text) for name, text in rule_files.list_files(fleet).items()),
        *(File(path, text) for path, text in boards.items()),
    )
    processes = (_run_alertmanager(node, passing, web), _run_prometheus(fleet, node, config, web))
    return Component(name="monitor", processes=processes, files=files)


def _target(fleet: Fleet, port: int) -> tuple[ScrapeTarget, ...]:
    return (ScrapeTarget(f"{LOOPBACK}:{port}", fleet.name),)


def _run_prometheus(fleet: Fleet, node: MonitorNode, config: File, web: File) -> Process:
    url = f"http://{LOOPBACK}:{node.prometheus_port}"
    command = (
        str(node.prometheus),
        f"--config.file={config.path}",
        f"--storage.tsdb.path={node.folder / 'metrics'}",
        f"--storage.tsdb.retention.time={fleet.monitoring.retention}d",
        f"--storage.tsdb.retention.size={bytes_of(fleet.monitoring.size)}B",
        f"--web.listen-address={LOOPBACK}:{node.prometheus_port}",
        *OPTIONS,
        f"--web.config.file={web.path}",
        "--log.level=warn",
    )
    return Process(
        name="prometheus",
        commands=(command,),
        health=HttpCheck(f"{url}/-/ready", login=(USER, node.password)),
        after=("alertmanager",),
        url=url,
        stop_timeout_s=20,
    )


def _run_alertmanager(node: MonitorNode, config: File, web: File) -> Process:
    url = f"http://{LOOPBACK}:{node.alertmanager_port}"
    command = (
        str(node.alertmanager),
        f"--config.file={config.path}",
        f"--storage.path={node.folder / 'alerts'}",
        f"--web.listen-address={LOOPBACK}:{node.alertmanager_port}",
        f"--web.config.file={web.path}",
        # It has no peer.
        "--cluster.listen-address=",
        "--log.level=warn",
    )
    return Process(
        name="alertmanager",
        commands=(command,),
        health=HttpCheck(f"{url}/-/ready", login=(USER, node.password)),
        after=("agents",),
        url=url,
    )

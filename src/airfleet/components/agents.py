"""The agents: a process of small loops, such as the exporter of metrics, beside Airflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from airfleet.components import exporter, slots
from airfleet.components.health import HttpCheck
from airfleet.components.model import DEAD_PEER, Component, Credentials, File, Process, Site
from airfleet.spec.addresses import join_port
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret, find_login, list_accepted
from airfleet_provider.contract import audit_log, environment, notification_policy
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.notification_policy import NotificationPolicy
from airfleet_provider.contract.openlineage_policy import OpenLineagePolicy
from airfleet_provider.contract.tracing_policy import TracingPolicy

NAME = "agents"
MODULE = "airfleet_provider.agents"
# Seconds without the watchdog alert after which a fleet with a monitor host raises the alarm: it arrives each minute.
WATCHDOG_S = 180.0
ROLE, DATABASE = "airflow", "airflow"


def describe(
    fleet: Fleet,
    site: Site,
    credentials: Credentials,
    notifications: NotificationPolicy,
    tracing: TracingPolicy | None = None,
    openlineage: OpenLineagePolicy | None = None,
) -> Component:
    """Describe the agents of one machine. They serve metrics and their health on the loopback."""
    metrics = exporter.configure_one_machine(fleet, site)
    heads = site.state / "audit" / "heads.jsonl"
    text = render(
        fleet,
        site,
        credentials,
        notifications,
        metrics,
        host=fleet.name,
        heads=heads,
        tracing=tracing,
        openlineage=openlineage,
    )
    config = File(site.state / "agents.json", text)
    return Component(NAME, (describe_process(site, config.path),), files=(config,))


def describe_process(site: Site, config: Path) -> Process:
    """Describe the process that reads this configuration."""
    url = f"http://{join_port(site.listen, site.agents_port)}"
    return Process(
        name=NAME,
        commands=((str(site.python), "-m", MODULE),),
        health=HttpCheck(f"{url}/health"),
        after=("metadata",),
        env={environment.AGENTS: str(config)},
        url=f"{url}/metrics",
        gated=True,
    )


def render(
    fleet: Fleet,
    site: Site,
    credentials: Credentials,
    notifications: NotificationPolicy,
    metrics: Mapping[str, object],
    *,
    host: str,
    tls: Mapping[str, object] | None = None,
    heads: Path | None = None,
    hosts: Path | None = None,
    tracing: TracingPolicy | None = None,
    openlineage: OpenLineagePolicy | None = None,
) -> Secret:
    """Return the configuration of the agents on a host, in JSON. It holds logins and secrets of receivers.

    `tls` is what `Key.SERVER` holds of TLS. `heads` is the file in which the agents keep heads of the audit log.
    `hosts` is that of `render_hosts`, if the fleet has hosts.
    """
    sections: Mapping[AgentsKey, object] = {
        AgentsKey.HOST: host,
        AgentsKey.SERVER: {"address": site.listen, "port": site.agents_port, **(tls or {})},
        AgentsKey.DATABASE: _connect(site, credentials),
        AgentsKey.METRICS: metrics,
        AgentsKey.NOTIFICATIONS: _complete(fleet, site, credentials, notifications).to_json(),
        AgentsKey.SLAS: {"rules": [rule.to_json() for rule in fleet.slas]},
        AgentsKey.BREAKERS: {"rules": [rule.to_json() for rule in fleet.breakers]},
        AgentsKey.LIMITS: {"limits": [one.to_json() for one in fleet.limits]},
        **({AgentsKey.HOSTS: str(hosts)} if hosts else {AgentsKey.SLOTS: _list_slot_rules(fleet)}),
        AgentsKey.AUDIT: {
            "key": audit_log.derive_key(credentials.jwt_secret.reveal()),
            **({"heads": str(heads)} if heads else {}),
        },
        **({AgentsKey.TRACING: replace(tracing, base_url=site.base_url).to_json()} if tracing else {}),
        **({AgentsKey.OPENLINEAGE: openlineage.to_json()} if openlineage else {}),
    }
    return Secret(json.dumps(sections, indent=1) + "\n")


def render_hosts(fleet: Fleet) -> str:
    """Return what the agents read again while they run, in JSON: what changes when a host joins or leaves."""
    sections: Mapping[AgentsKey, object] = {
        AgentsKey.METRICS: exporter.configure_members(fleet),
        AgentsKey.SLOTS: _list_slot_rules(fleet),
    }
    return json.dumps(sections, indent=1) + "\n"


def _list_slot_rules(fleet: Fleet) -> Mapping[str, object]:
    return {
        "rules": [rule.to_json() for rule in slots.list_rules(fleet)],
        "fixed": [pool.to_json() for pool in slots.list_fixed(fleet)],
    }


def _complete(
    fleet: Fleet, site: Site, credentials: Credentials, notifications: NotificationPolicy
) -> NotificationPolicy:
    """Add what does not come from fleet.yaml. During a rotation, Alertmanager may still show the former token."""
    key = credentials.jwt_secret
    return replace(
        notifications,
        fleet=fleet.name,
        base_url=site.base_url,
        watchdog_s=notifications.watchdog_s or (WATCHDOG_S if fleet.with_role("monitor") else 0.0),
        link_key=notification_policy.derive_link_key(key.reveal()),
        webhook_tokens=tuple(notification_policy.derive_webhook_token(one.reveal()) for one in list_accepted(key)),
    )


def _connect(site: Site, credentials: Credentials) -> dict[str, object]:
    """Return libpq's keywords for a connection to the primary among the site's database hosts."""
    if own := site.own_database:
        login = {"host": own.host, "port": own.port, "dbname": own.name, "user": own.user}
        return {**login, "password": own.password.reveal(), **DEAD_PEER, **own.tls}
    return {
        "host": ",".join(site.database_hosts),
        "port": site.database_port,
        "dbname": DATABASE,
        "user": find_login(ROLE, credentials.airflow),
        "password": credentials.airflow.reveal(),
        **DEAD_PEER,
        **({"target_session_attrs": "read-write"} if len(site.database_hosts) > 1 else {}),
        **site.tls,
    }

"""The agents: a process of small loops, such as the exporter of metrics, beside Airflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from airfleet.components.health import HttpCheck
from airfleet.components.model import DEAD_PEER, Component, Credentials, File, Process, Site
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret, find_login
from airfleet_provider.contract import environment
from airfleet_provider.contract.agents_config import Key

NAME = "agents"
MODULE = "airfleet_provider.agents"
ROLE, DATABASE = "airflow", "airflow"


def describe(fleet: Fleet, site: Site, credentials: Credentials) -> Component:
    """Describe the agents of one machine. They serve metrics and their health on the loopback."""
    config = File(site.state / "agents.json", render(fleet, site, credentials, host=fleet.name))
    return Component(NAME, (describe_process(site, config.path),), files=(config,))


def describe_process(site: Site, config: Path) -> Process:
    """Describe the process that reads this configuration."""
    url = f"http://{site.listen}:{site.agents_port}"
    return Process(
        name=NAME,
        commands=((str(site.python), "-m", MODULE),),
        health=HttpCheck(f"{url}/health"),
        after=("metadata",),
        env={environment.AGENTS: str(config)},
        url=f"{url}/metrics",
    )


def render(fleet: Fleet, site: Site, credentials: Credentials, *, host: str) -> Secret:
    """Return the configuration of the agents on a host, in JSON. It holds the login of the metadata database."""
    sections: Mapping[Key, object] = {
        Key.HOST: host,
        Key.SERVER: {"address": site.listen, "port": site.agents_port},
        Key.DATABASE: _connect(site, credentials),
        Key.METRICS: {},
        Key.NOTIFICATIONS: {},
        Key.SLAS: {"rules": [rule.to_json() for rule in fleet.slas]},
    }
    return Secret(json.dumps(sections, indent=1) + "\n")


def _connect(site: Site, credentials: Credentials) -> dict[str, object]:
    """Return libpq's keywords for a connection to the primary among the site's database hosts."""
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

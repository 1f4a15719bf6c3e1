"""The log agent: it reads the logs of a machine as they grow, and writes the index of them."""

from __future__ import annotations

import json

from airfleet.components.health import HttpCheck
from airfleet.components.model import Component, File, Process, Site
from airfleet.spec.addresses import join_port
from airfleet.spec.fleet import Fleet
from airfleet_provider.contract import environment, log_agent_config
from airfleet_provider.contract.log_agent_config import LogAgentKey

NAME = "log-agent"
MODULE = "airfleet_provider.log_agent"


def describe(fleet: Fleet, site: Site) -> Component:
    """Describe the log agent of one machine. It needs no other process, so it sees why one does not start."""
    config = File(site.state / "log-agent.json", render(fleet, site, host=fleet.name))
    url = f"http://{join_port(site.listen, site.log_agent_port)}"
    process = Process(
        name=NAME,
        commands=((str(site.python), "-m", MODULE),),
        health=HttpCheck(f"{url}/health"),
        env={environment.LOG_AGENT: str(config.path)},
        url=f"{url}/metrics",
    )
    return Component(NAME, (process,), files=(config,))


def render(fleet: Fleet, site: Site, *, host: str) -> str:
    """Return the configuration of a log agent, in JSON."""
    sections: dict[LogAgentKey, object] = {
        LogAgentKey.HOST: host,
        LogAgentKey.SERVER: {"address": site.listen, "port": site.log_agent_port},
        LogAgentKey.INDEX: str(site.log_index),
        LogAgentKey.POSITIONS: str(site.state / "log-agent"),
        LogAgentKey.COMPONENTS: str(site.logs),
        LogAgentKey.TASKS: [str(site.logs / "tasks")],
        LogAgentKey.TREES: {"dag-processor": str(site.logs / "dag_processor")},
        LogAgentKey.MOST_BYTES_PER_TRY: log_agent_config.MOST_BYTES_PER_TRY,
        LogAgentKey.KEEP_DAYS: fleet.retention.logs,
        LogAgentKey.REDACT: list(fleet.logs.redact),
    }
    return json.dumps(sections, indent=1) + "\n"

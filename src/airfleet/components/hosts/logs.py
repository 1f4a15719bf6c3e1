"""The logs of a fleet: a log agent on each host, and the log store on hosts of the role logs.

With two log stores, each agent sends every line to both of them, and each has the whole index. If OpenSearch keeps
the lines, an agent sends each line to one of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from airfleet.components import log_agent
from airfleet.components.health import HttpCheck, TcpCheck
from airfleet.components.host_model import (
    AUTHORITIES,
    ETC,
    LIB,
    LOG,
    LOG_AGENT_METRICS,
    LOG_STORE,
    LOGS_USER,
    SERVER_USER,
    WORKER_USER,
    Folder,
    HostFile,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
    private,
)
from airfleet.components.hosts import certificates, metrics
from airfleet.components.model import Setting
from airfleet.components.settings import INDEXED_LOGS
from airfleet.spec.addresses import join_port
from airfleet.spec.secrets import list_accepted
from airfleet.spec.topology import Host, Role
from airfleet_provider.contract import environment, log_agent_config, log_store_config
from airfleet_provider.contract.log_agent_config import LogAgentKey

STORE = "log-store"
STORE_MODULE = "airfleet_provider.log_store"
AGENT_FOLDER, STORE_FOLDER = ETC / log_agent.NAME, ETC / STORE
AGENT_CONFIG = AGENT_FOLDER / "log-agent.json"
AGENT_STATE, STORE_STATE = LIB / log_agent.NAME, LIB / STORE
JOURNALCTL = "/usr/bin/journalctl"
# Who reads the journal and is not root.
JOURNAL_GROUP = "systemd-journal"
# For a role, the folder with its logs of tasks, and the group that may read it.
TASK_LOGS: Mapping[Role, tuple[str, str]] = {
    "worker": (str(LOG / "tasks"), WORKER_USER),
    "scheduler": (str(LOG / "server"), SERVER_USER),
}
PARSED = LOG / "server" / "dag_processor"


def describe_agent(place: Place) -> Part:
    """Describe the log agent of a host. It listens where all exporters of the host do."""
    listen, own = metrics.find_listener(place), metrics.find_own_address(place)
    proof = certificates.list_files(place, AGENT_FOLDER, LOGS_USER)
    config = HostFile(AGENT_CONFIG, _render_agent(place, listen, *proof))
    groups = [JOURNAL_GROUP, *(group for role, (_, group) in TASK_LOGS.items() if role in place.host.roles)]
    service = Service(
        name=log_agent.NAME,
        what="log agent: sends the lines of all logs of this host to the log store",
        stage=Stage.EDGE,
        command=(_find_python(place), "-m", log_agent.MODULE),
        user=LOGS_USER,
        files=(config,),
        env=_make_environment(**{environment.LOG_AGENT: str(config.path)}),
        health=HttpCheck(f"http://{join_port(own, LOG_AGENT_METRICS)}/health"),
        sandbox={"SupplementaryGroups": " ".join(groups)},
    )
    return Part(
        name=log_agent.NAME,
        users=(LOGS_USER,),
        folders=(Folder(AGENT_FOLDER), Folder(AGENT_STATE, LOGS_USER, LOGS_USER, 0o700)),
        # It reads its certificate and the authorities at each connection, so new ones restart nothing.
        files=(config, *proof),
        services=(service,),
        ports=metrics.open_port(place, metrics.LOGS, "metrics of the log agent"),
    )


def describe_store(place: Place) -> Part:
    """Describe the log store. Hosts prove themselves with their certificates, and those who search with a token."""
    proof = certificates.list_files(place, STORE_FOLDER, LOGS_USER)
    config = private(STORE_FOLDER / "log-store.json", _render_store(place, *proof), LOGS_USER)
    service = Service(
        name=STORE,
        what="log store: keeps the lines of all hosts, and searches them",
        stage=Stage.EDGE,
        command=(_find_python(place), "-m", STORE_MODULE),
        user=LOGS_USER,
        files=(config,),
        env=_make_environment(**{environment.LOG_STORE: str(config.path)}),
        health=TcpCheck(LOG_STORE, place.own_address),
    )
    hosts = tuple(host.address for host in place.fleet.hosts)
    return Part(
        name=STORE,
        users=(LOGS_USER,),
        folders=(Folder(STORE_FOLDER), Folder(STORE_STATE, LOGS_USER, LOGS_USER, 0o700)),
        files=(config, *proof),
        services=(service,),
        ports=(OpenPort(LOG_STORE, hosts, "lines of logs, and searches in them"),),
    )


def list_settings(place: Place) -> tuple[Setting, ...]:
    """Return what lets web and scheduler hosts search the log stores, if the fleet has one."""
    if not (stores := place.fleet.with_role("logs")):
        return ()
    urls = " ".join(_find_url(host) for host in stores)
    return (
        Setting(
            "airfleet", log_store_config.STORES, urls, "`airfleet logs search` and the UI ask the first that answers"
        ),
        Setting(
            "airfleet", log_store_config.AUTHORITIES, str(AUTHORITIES), "the log store has to prove that it is one"
        ),
        INDEXED_LOGS,
    )


def _find_url(host: Host) -> str:
    return f"https://{join_port(host.address, LOG_STORE)}"


def _find_python(place: Place) -> str:
    return str((place.runtime if place.runs_airflow else place.logs) / "bin" / "python")


def _make_environment(**own: str) -> dict[str, str]:
    # No such folder is there. A folder of another user could hold files that libraries read from a home.
    return {"HOME": str(LIB / LOGS_USER), "PYTHONUNBUFFERED": "1", **own}


def _render_agent(place: Place, listen: str, certificate: HostFile, key: HostFile) -> str:
    roles = place.host.roles
    sections: dict[LogAgentKey, object] = {
        LogAgentKey.HOST: place.host.name,
        LogAgentKey.SERVER: {"address": listen, "port": LOG_AGENT_METRICS},
        LogAgentKey.STORES: _list_stores(place),
        LogAgentKey.PROOF: {
            "authorities": str(AUTHORITIES),
            "certificate": str(certificate.path),
            "key": str(key.path),
        },
        LogAgentKey.POSITIONS: str(AGENT_STATE),
        LogAgentKey.JOURNAL: [JOURNALCTL],
        LogAgentKey.TASKS: [folder for role, (folder, _) in TASK_LOGS.items() if role in roles],
        LogAgentKey.TREES: {"dag-processor": str(PARSED)} if "scheduler" in roles else {},
        LogAgentKey.MOST_BYTES_PER_TRY: log_agent_config.MOST_BYTES_PER_TRY,
        LogAgentKey.KEEP_DAYS: place.fleet.retention.logs,
        LogAgentKey.REDACT: list(place.fleet.logs.redact),
    }
    return json.dumps(sections, indent=1) + "\n"


def _list_stores(place: Place) -> dict[str, str]:
    urls = {host.name: _find_url(host) for host in place.fleet.with_role("logs")}
    return {"opensearch": " ".join(urls.values())} if place.fleet.logs.opensearch else urls


def _render_store(place: Place, certificate: HostFile, key: HostFile) -> str:
    keys = list_accepted(place.credentials.platform.jwt_secret)
    sections: dict[log_store_config.LogStoreKey, object] = {
        log_store_config.LogStoreKey.SERVER: {
            "address": place.listen,
            "port": LOG_STORE,
            "certificate": str(certificate.path),
            "key": str(key.path),
            "authorities": str(AUTHORITIES),
        },
        **_describe_index(place),
        log_store_config.LogStoreKey.KEEP_DAYS: place.fleet.retention.logs,
        log_store_config.LogStoreKey.TOKENS: [log_store_config.derive_search_token(one.reveal()) for one in keys],
    }
    return json.dumps(sections, indent=1) + "\n"


def _describe_index(place: Place) -> dict[log_store_config.LogStoreKey, object]:
    if (wanted := place.fleet.logs.opensearch) and place.objects.opensearch:
        found = {"url": place.objects.opensearch.reveal(), "prefix": wanted.prefix}
        return {log_store_config.LogStoreKey.OPENSEARCH: found}
    return {log_store_config.LogStoreKey.INDEX: str(STORE_STATE / "index")}

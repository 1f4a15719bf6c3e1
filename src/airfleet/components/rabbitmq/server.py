"""RabbitMQ from the system's packages: one node, or three that hold copies of every queue."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from airfleet.components.health import TcpCheck
from airfleet.components.host_model import (
    AMQP,
    EPMD,
    ERLANG,
    ETC,
    RABBITMQ_METRICS,
    Folder,
    HostFile,
    Job,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
    private,
)
from airfleet.components.model import DEAD_PEER
from airfleet.components.rabbitmq import permissions
from airfleet.shell_script import render_script
from airfleet.spec.secrets import Secret, by_login, find_login

NAME = "rabbitmq"
UNIT = f"airfleet-{NAME}.service"
USER = "rabbitmq"
VHOST = "airfleet"
QUEUE_TYPE: Final = "quorum"
FOLDER = ETC / "rabbitmq"
DATA, LOGS = Path("/var/lib/rabbitmq"), Path("/var/log/rabbitmq")
# Erlang looks for its cookie here. The folder is root's: root writes nothing into a folder of this user's.
HOME = FOLDER
# Debian's own commands of the same names would look for another cookie, in the user's home.
TOOLS = "/usr/lib/rabbitmq/bin"
RABBITMQCTL = f"{TOOLS}/rabbitmqctl"
# A task is acknowledged when it ends, and RabbitMQ's own 30 minutes would take a longer one away from its worker.
CONSUMER_TIMEOUT_MS = 7 * 24 * 3600 * 1000
# Seconds after which the other nodes give up one that hangs; Erlang's own are 60. Until then everything waits that the
# cluster has to agree on, such as the queue of a worker that comes back. With fewer a busy host would count as gone.
NET_TICK_S = 20
# What `ask_to_stop` exits with.
NEEDED, STRANGE = 11, 12
# Seconds that one call of RabbitMQ's tools takes on a busy host, most of them for Erlang to start.
CALL_S = 20
# The logins that earlier versions gave to the scheduler and to all workers alike.
FORMER_LOGINS = ("scheduler", "worker")
# Celery's, of earlier versions: for delays, events and remote control. No task waits in one.
FORMER_QUEUES = r"^celery_delayed_|^celeryev\.|\.celery\.pidbox$"


def describe(place: Place) -> Part:
    nodes = place.addresses("broker")
    others = tuple(address for address in nodes if address != place.host.address)
    watchers = place.addresses("monitor")
    files = (
        HostFile(FOLDER / "rabbitmq.conf", render_config(place, nodes)),
        HostFile(FOLDER / "enabled_plugins", "[rabbitmq_prometheus].\n"),
        private(FOLDER / "definitions.json", render_definitions(place), USER),
        HostFile(HOME / ".erlang.cookie", place.credentials.erlang_cookie, USER, 0o400, USER),
    )
    alone = not others
    names = _name_node(place)
    env = {
        "RABBITMQ_NODENAME": names["RABBITMQ_NODENAME"],
        "RABBITMQ_USE_LONGNAME": names["RABBITMQ_USE_LONGNAME"],
        "RABBITMQ_CONFIG_FILE": str(FOLDER / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(FOLDER / "enabled_plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_LOGS": "-",
        "ERL_EPMD_ADDRESS": "127.0.0.1" if alone else place.listen,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_interface('127.0.0.1' if alone else place.listen)} {_dead_peer()}",
        "HOME": names["HOME"],
        # With another configuration or cookie it starts anew; users and queues it reads while it runs.
        "AIRFLEET_CONFIG": hashlib.sha256("".join(file.digest for file in (*files[:2], files[3])).encode()).hexdigest(),
    }
    service = Service(
        name=NAME,
        what="RabbitMQ",
        stage=Stage.STORES,
        command=("/usr/lib/rabbitmq/bin/rabbitmq-server",),
        user=USER,
        files=files,
        env=env,
        reload=((RABBITMQCTL, "-q", "import_definitions", str(files[2].path)),),
        kind="notify",
        stop_s=120,
        wait_s=180,
        health=TcpCheck(AMQP, place.own_address),
        # It opens a log of its upgrades there, wherever it logs to.
        writes=(DATA, LOGS),
    )
    return Part(
        name="rabbitmq",
        packages=("rabbitmq-server",),
        masks=("rabbitmq-server.service", "epmd.service", "epmd.socket"),
        folders=(Folder(FOLDER),),
        files=files,
        jobs=(end_logins(place, env), *_list_jobs(place, env)),
        services=(service,),
        ports=(
            OpenPort(AMQP, place.addresses("scheduler", "worker"), "the queues"),
            *(
                (OpenPort(EPMD, others, "RabbitMQ's nodes"), OpenPort(ERLANG, others, "RabbitMQ's nodes"))
                if others
                else ()
            ),
            *((OpenPort(RABBITMQ_METRICS, watchers, "metrics of RabbitMQ"),) if watchers else ()),
        ),
    )


def _name_node(place: Place) -> dict[str, str]:
    """What RabbitMQ's tools have to know to find the node of a host."""
    # A node of one talks to nobody; nodes of a cluster find each other by address, without DNS.
    alone = len(place.addresses("broker")) == 1
    return {
        "RABBITMQ_NODENAME": "rabbit@localhost" if alone else f"rabbit@{place.host.address}",
        "RABBITMQ_USE_LONGNAME": "false" if alone else "true",
        "HOME": str(HOME),
    }


def ask_to_stop(place: Place) -> str:
    """A script that asks the node of this host whether it may stop.

    It exits with `NEEDED` when a queue would then have no majority of its copies, and with `STRANGE` when a node runs
    there and does not answer by the name and with the cookie that the host has by now.
    """
    names = _name_node(place)
    ask = _ask_node("may_stop", "rabbitmq-diagnostics", names, NEEDED=NEEDED, STRANGE=STRANGE)
    return render_script(__package__, "ask_to_stop", UNIT=UNIT, ASK=ask)


def _interface(address: str) -> str:
    if not re.fullmatch(r"[0-9.]+", address):
        return ""
    # The shell scripts of RabbitMQ split the words; braces and commas reach Erlang as they are.
    return f"-kernel inet_dist_use_interface {{{address.replace('.', ',')}}}"


def render_config(place: Place, nodes: tuple[str, ...]) -> str:
    values = {
        "net_ticktime": str(NET_TICK_S),
        "listeners.tcp.1": f"{place.listen}:{AMQP}",
        "consumer_timeout": str(CONSUMER_TIMEOUT_MS),
        "heartbeat": "30",
        "vm_memory_high_watermark.relative": "0.4",
        "disk_free_limit.absolute": "1GB",
        "load_definitions": str(FOLDER / "definitions.json"),
        "prometheus.tcp.ip": find_metrics_address(place),
        "prometheus.tcp.port": str(RABBITMQ_METRICS),
        "log.console.level": "warning",
    }
    if len(nodes) > 1:
        values["cluster_formation.peer_discovery_backend"] = "rabbit_peer_discovery_classic_config"
        values["cluster_partition_handling"] = "pause_minority"
        values |= {
            f"cluster_formation.classic_config.nodes.{index}": f"rabbit@{address}"
            for index, address in enumerate(nodes, 1)
        }
    return "\n".join(["# Written by airfleet.", *(f"{key} = {value}" for key, value in values.items()), ""])


def _dead_peer() -> str:
    """Let the kernel give up another node whose host has lost its power, as all other connections of the fleet do."""
    # Linux's numbers of TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT and TCP_USER_TIMEOUT.
    numbers = {4: "keepalives_idle", 5: "keepalives_interval", 6: "keepalives_count", 18: "tcp_user_timeout"}
    raw = ",".join(f"{{raw,6,{number},<<{DEAD_PEER[name]}:32/native>>}}" for number, name in numbers.items())
    return " ".join(f"-kernel inet_dist_{side}_options [{{keepalive,true}},{raw}]" for side in ("listen", "connect"))


def find_metrics_address(place: Place) -> str:
    """Where a node tells its metrics: to this host alone, unless another one may read them."""
    return place.listen if place.addresses("monitor") else "127.0.0.1"


def render_definitions(place: Place) -> str:
    """The queues of the pools, the scheduler's login and one for each pool."""
    return permissions.render_definitions(VHOST, list_logins(place), place.fleet.queues, QUEUE_TYPE)


def list_logins(place: Place) -> tuple[permissions.BrokerLogin, ...]:
    """The scheduler, and the workers of each pool."""
    secrets = place.credentials
    pools = (permissions.consumer(pool.name, secrets.consumers[pool.name], pool.queues) for pool in place.fleet.pools)
    return (permissions.publisher(secrets.publisher), *pools)


def _list_jobs(place: Place, env: Mapping[str, str]) -> tuple[Job, ...]:
    jobs = []
    if len(place.addresses("broker")) > 1:
        jobs.append(_grow(place, env))
    if place.credentials.former_results is None and place.host == place.fleet.with_role("broker")[0]:
        jobs.append(_remove_former(env))
    return tuple(jobs)


def _grow(place: Place, env: Mapping[str, str]) -> Job:
    """The first node of a cluster makes the queues when it is still alone; each other adds itself to them."""
    script = _ask_node("copy_queues", "rabbitmq-queues", env, VHOST=VHOST, QUEUES=" ".join(place.fleet.queues))
    timeout_s = 600 + CALL_S * len(place.fleet.queues)
    return Job("rabbitmq-copies", "a copy of every queue", Stage.POOLER, Secret(script), USER, timeout_s=timeout_s)


def end_logins(place: Place, env: Mapping[str, str]) -> Job:
    """Remove what was a login of airfleet's and is none any more, which ends its connections.

    The logins of a pool that has left fleet.yaml stay for as long as `former_pools` names it.
    """
    logins = list_logins(place)
    kept = "\n".join(name for login in logins for name in by_login(login.name, login.password))
    former = "|".join(f"{permissions.CONSUMER}{pool}" for pool in place.credentials.former_pools)
    ours = f"^({permissions.PUBLISHER}|{permissions.CONSUMER}.+)([.][0-9]+)?$"
    draining = f"^({former})([.][0-9]+)?$" if former else permissions.NOTHING
    script = render_script(
        __package__, "end_logins", **_address(env), TOOL=RABBITMQCTL, OURS=ours, KEPT=kept, DRAINING=draining
    )
    # Each call is bounded by itself; all of them together take longer the more logins there may be to remove.
    timeout_s = 300 + CALL_S * len(logins)
    return Job("rabbitmq-logins", "end former logins", Stage.STORES, Secret(script), USER, ("rabbitmq",), timeout_s)


def _ask_node(name: str, tool: str, env: Mapping[str, str], **values: object) -> str:
    """Render a program that asks the node of this host with one of RabbitMQ's tools."""
    return render_script(__package__, "broker_tool", name, **_address(env), TOOL=f"{TOOLS}/{tool}", **values)


def _address(env: Mapping[str, str]) -> dict[str, str]:
    """How RabbitMQ's tools find the node of this host."""
    long_names = "--longnames" if env["RABBITMQ_USE_LONGNAME"] == "true" else ""
    return {"BROKER_HOME": env["HOME"], "LONG_NAMES": long_names, "NODE": env["RABBITMQ_NODENAME"]}


def _remove_former(env: Mapping[str, str]) -> Job:
    """What earlier versions left at the broker; queues of tasks and their messages stay."""
    script = _ask_node(
        "remove_former", "rabbitmqctl", env, LOGINS=" ".join(FORMER_LOGINS), VHOST=VHOST, QUEUES=FORMER_QUEUES
    )
    what = "remove logins, exchanges and queues of earlier versions"
    return Job("rabbitmq-former", what, Stage.EDGE, Secret(script), USER, timeout_s=600)


def url(place: Place, user: str, password: Secret) -> Secret:
    """Every node, in an order of this host's own, so that clients spread; Celery goes on when one dies."""
    nodes = place.addresses("broker")
    first = place.fleet.hosts.index(place.host) % len(nodes)
    ordered = nodes[first:] + nodes[:first]
    urls = (f"amqp://{find_login(user, password)}:{password.reveal()}@{address}:{AMQP}/{VHOST}" for address in ordered)
    return Secret(";".join(urls))

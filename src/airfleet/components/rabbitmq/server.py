"""RabbitMQ from the system's packages: one node, or three nodes that each have a copy of every queue."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from airfleet.components.health import TcpCheck
from airfleet.components.host_model import (
    AMQP,
    AMQPS,
    AUTHORITIES,
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
from airfleet.components.hosts import certificates, metrics
from airfleet.components.model import DEAD_PEER
from airfleet.components.rabbitmq import inter_node_tls, own_broker, permissions
from airfleet.shell_script import render_script
from airfleet.spec.addresses import is_ipv6, join_port, write_dotted
from airfleet.spec.secrets import Secret, by_login, find_login
from airfleet.template import render_template

NAME = "rabbitmq"
UNIT = f"airfleet-{NAME}.service"
USER = "rabbitmq"
VHOST = "airfleet"
QUEUE_TYPE: Final = "quorum"
FOLDER = ETC / "rabbitmq"
DATA, LOGS = Path("/var/lib/rabbitmq"), Path("/var/log/rabbitmq")
# Erlang reads its cookie from HOME. The folder belongs to root, because root must not write into a folder of this user.
HOME = FOLDER
# Debian's commands with the same names would read another cookie, from the user's home.
TOOLS = "/usr/lib/rabbitmq/bin"
RABBITMQCTL = f"{TOOLS}/rabbitmqctl"
# Seconds after which the other nodes give up a node that hangs; Erlang's default is 60. Until then, everything that the
# cluster has to agree on waits, such as the queue of a worker that reconnects. With a lower value, a busy host would
# count as gone.
NET_TICK_S = 20
# Exit codes of the script of `ask_to_stop`.
NEEDED, STRANGE = 11, 12
# Seconds that one call of RabbitMQ's tools may take on a busy host. Most of them pass until Erlang has started.
CALL_S = 20
# The logins of the scheduler and of all workers in earlier versions.
FORMER_LOGINS = ("scheduler", "worker")
# Queues of Celery in earlier versions, for delays, events and remote control. No task waits in them.
FORMER_QUEUES = r"^celery_delayed_|^celeryev\.|\.celery\.pidbox$"


def describe(place: Place) -> Part:
    nodes = place.addresses("broker")
    others = tuple(address for address in nodes if address != place.host.address)
    files = (
        HostFile(FOLDER / "rabbitmq.conf", render_config(place, nodes)),
        HostFile(FOLDER / "enabled_plugins", "[rabbitmq_prometheus].\n"),
        private(FOLDER / "definitions.json", render_definitions(place), USER),
        HostFile(HOME / ".erlang.cookie", place.credentials.erlang_cookie, USER, 0o400, USER),
        *certificates.list_files(place, FOLDER, USER),
        *inter_node_tls.list_files(place, FOLDER),
    )
    alone = not others
    options = (
        _interface("127.0.0.1" if alone else place.listen),
        _dead_peer(),
        inter_node_tls.render_options(place, FOLDER),
    )
    clients, tls = place.addresses("scheduler", "worker"), place.credentials.encryption.broker
    names = _name_node(place)
    env = {
        "RABBITMQ_NODENAME": names["RABBITMQ_NODENAME"],
        "RABBITMQ_USE_LONGNAME": names["RABBITMQ_USE_LONGNAME"],
        "RABBITMQ_CONFIG_FILE": str(FOLDER / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(FOLDER / "enabled_plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_LOGS": "-",
        "ERL_EPMD_ADDRESS": "127.0.0.1" if alone else place.listen,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(filter(None, options)),
        **{name: value for name, value in names.items() if name in ("HOME", "RABBITMQ_CTL_ERL_ARGS")},
        # A change of the configuration or the cookie restarts RabbitMQ. It loads users, queues and its certificate
        # while it runs.
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
        reload=(
            (RABBITMQCTL, "-q", "import_definitions", str(files[2].path)),
            (RABBITMQCTL, "-q", "eval", inter_node_tls.find_reload(place)),
        ),
        kind="notify",
        stop_s=120,
        wait_s=180,
        health=TcpCheck(AMQPS if tls.is_required else AMQP, place.own_address),
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
            OpenPort(AMQPS, clients, "the queues"),
            *(() if tls.is_required else (OpenPort(AMQP, clients, "the queues, without encryption"),)),
            *(
                (OpenPort(EPMD, others, "RabbitMQ's nodes"), OpenPort(ERLANG, others, "RabbitMQ's nodes"))
                if others
                else ()
            ),
            *metrics.open_port(place, metrics.RABBITMQ, "metrics of RabbitMQ"),
        ),
    )


def _name_node(place: Place) -> dict[str, str]:
    """Return the environment with which RabbitMQ's tools find the node of a host."""
    # A single node talks to no other. Nodes of a cluster find each other by address, without DNS.
    alone = len(place.addresses("broker")) == 1
    return {
        "RABBITMQ_NODENAME": "rabbit@localhost" if alone else name_node(place.host.address),
        "RABBITMQ_USE_LONGNAME": "false" if alone else "true",
        "HOME": str(HOME),
        **({"RABBITMQ_CTL_ERL_ARGS": options} if (options := inter_node_tls.render_options(place, FOLDER)) else {}),
    }


def name_node(address: str) -> str:
    """Return the name of the node of a host in a cluster.

    RabbitMQ's tools take what has no dot for a name without its domain, and add one.
    """
    return f"rabbit@{write_dotted(address)}"


def ask_to_stop(place: Place) -> str:
    """Return a script that checks whether the node of this host may stop.

    It exits with `NEEDED` if a queue would then lose the majority of its copies. It exits with `STRANGE` if a node runs
    but does not answer to the name and the cookie that the host has now.
    """
    names = _name_node(place)
    ask = _ask_node("may_stop", "rabbitmq-diagnostics", names, NEEDED=NEEDED, STRANGE=STRANGE)
    return render_script(__package__, "ask_to_stop", UNIT=UNIT, ASK=ask)


def _interface(address: str) -> str:
    if is_ipv6(address):
        words = ipaddress.IPv6Address(address).exploded.split(":")
        address = ".".join(str(int(word, 16)) for word in words)
    if not re.fullmatch(r"[0-9.]+", address):
        return ""
    # The shell scripts of RabbitMQ split this text into words. Braces and commas reach Erlang unchanged.
    return f"-kernel inet_dist_use_interface {{{address.replace('.', ',')}}}"


def render_config(place: Place, nodes: tuple[str, ...]) -> str:
    """Return rabbitmq.conf of a host, for a cluster of these nodes."""
    return render_template(
        __package__,
        "rabbitmq.conf",
        net_tick_s=NET_TICK_S,
        is_tls_required=place.credentials.encryption.broker.is_required,
        listen=place.listen,
        amqp=AMQP,
        amqps=AMQPS,
        authorities=AUTHORITIES,
        folder=FOLDER,
        consumer_timeout_ms=permissions.CONSUMER_TIMEOUT_MS,
        metrics_address=metrics.find_listener(place),
        metrics_port=RABBITMQ_METRICS,
        nodes=tuple(map(name_node, nodes)),
    )


def _dead_peer() -> str:
    """Return Erlang's options that end connections to a node whose host lost its power, as DEAD_PEER elsewhere."""
    # The numbers are Linux's TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT and TCP_USER_TIMEOUT.
    numbers = {4: "keepalives_idle", 5: "keepalives_interval", 6: "keepalives_count", 18: "tcp_user_timeout"}
    raw = ",".join(f"{{raw,6,{number},<<{DEAD_PEER[name]}:32/native>>}}" for number, name in numbers.items())
    return " ".join(f"-kernel inet_dist_{side}_options [{{keepalive,true}},{raw}]" for side in ("listen", "connect"))


def render_definitions(place: Place) -> str:
    """Return the definitions: the queues of the pools, the login of the scheduler, and one for each pool."""
    return permissions.render_definitions(VHOST, list_logins(place), place.fleet.queues, QUEUE_TYPE)


def list_logins(place: Place) -> tuple[permissions.BrokerLogin, ...]:
    """Return the login of the scheduler and one for each pool."""
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
    """Describe the job that adds a copy of every queue on this node. The first node of a cluster created the queues."""
    script = _ask_node("copy_queues", "rabbitmq-queues", env, VHOST=VHOST, QUEUES=" ".join(place.fleet.queues))
    timeout_s = 720 + CALL_S * len(place.fleet.queues)
    return Job("rabbitmq-copies", "a copy of every queue", Stage.POOLER, Secret(script), USER, timeout_s=timeout_s)


def end_logins(place: Place, env: Mapping[str, str]) -> Job:
    """Describe the job that removes former logins of airfleet. The removal of a login ends its connections.

    The logins of a pool that is no longer in fleet.yaml remain while `former_pools` names the pool.
    """
    logins = list_logins(place)
    kept = "\n".join(name for login in logins for name in by_login(login.name, login.password))
    former = "|".join(f"{permissions.CONSUMER}{pool}" for pool in place.credentials.former_pools)
    ours = f"^({permissions.PUBLISHER}|{permissions.CONSUMER}.+)([.][0-9]+)?$"
    draining = f"^({former})([.][0-9]+)?$" if former else permissions.NOTHING
    script = render_script(
        __package__, "end_logins", **_address(env), TOOL=RABBITMQCTL, OURS=ours, KEPT=kept, DRAINING=draining
    )
    # Each call has its own time-out. The time-out of the job grows with the number of logins to remove.
    timeout_s = 300 + CALL_S * len(logins)
    return Job("rabbitmq-logins", "end former logins", Stage.STORES, Secret(script), USER, ("rabbitmq",), timeout_s)


def _ask_node(name: str, tool: str, env: Mapping[str, str], **values: object) -> str:
    """Render a program that calls one of RabbitMQ's tools for the node of this host."""
    return render_script(__package__, "broker_tool", name, **_address(env), TOOL=f"{TOOLS}/{tool}", **values)


def _address(env: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters with which a program finds the node of this host."""
    long_names = "--longnames" if env["RABBITMQ_USE_LONGNAME"] == "true" else ""
    options = env.get("RABBITMQ_CTL_ERL_ARGS", "")
    return {"BROKER_HOME": env["HOME"], "LONG_NAMES": long_names, "NODE": env["RABBITMQ_NODENAME"], "OPTIONS": options}


def _remove_former(env: Mapping[str, str]) -> Job:
    """Describe the job that removes what earlier versions left at the broker. Queues of tasks and messages remain."""
    script = _ask_node(
        "remove_former", "rabbitmqctl", env, LOGINS=" ".join(FORMER_LOGINS), VHOST=VHOST, QUEUES=FORMER_QUEUES
    )
    what = "remove logins, exchanges and queues of earlier versions"
    return Job("rabbitmq-former", what, Stage.EDGE, Secret(script), USER, timeout_s=600)


def url(place: Place, user: str, password: Secret) -> Secret:
    """Return the URLs of all nodes. Hosts have different orders, to spread clients. Celery changes to the next node."""
    if own := own_broker.find(place):
        return own_broker.url(own, user, password)
    nodes = place.addresses("broker")
    first = place.fleet.hosts.index(place.host) % len(nodes)
    ordered = nodes[first:] + nodes[:first]
    scheme, port = ("amqps", AMQPS) if place.credentials.encryption.broker.is_used else ("amqp", AMQP)
    login = f"{find_login(user, password)}:{password.reveal()}"
    return Secret(";".join(f"{scheme}://{login}@{join_port(address, port)}/{VHOST}" for address in ordered))


def find_authorities(place: Place) -> Path | None:
    """Return the file of the authorities that clients of the brokers trust, or None while they connect without TLS."""
    if own := own_broker.find(place):
        return own_broker.find_authorities(own)
    return AUTHORITIES if place.credentials.encryption.broker.is_used else None

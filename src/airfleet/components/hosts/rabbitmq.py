"""RabbitMQ from the system's packages: one node, or three that hold copies of every queue."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from airfleet.components.base import DEAD_PEER
from airfleet.components.hosts.base import (
    AMQP,
    EPMD,
    ERLANG,
    ETC,
    RABBITMQ_METRICS,
    Folder,
    HostFile,
    Job,
    Part,
    Place,
    Port,
    Service,
    Stage,
    Tcp,
    private,
)
from airfleet.components.rabbitmq import hash_password
from airfleet.spec.secrets import Secret, by_login, find_login

USER = "rabbitmq"
VHOST = "airfleet"
SCHEDULER, WORKER = "scheduler", "worker"
FOLDER = ETC / "rabbitmq"
DATA = Path("/var/lib/rabbitmq")
# A task is acknowledged when it ends, and RabbitMQ's own 30 minutes would take a longer one away from its worker.
CONSUMER_TIMEOUT_MS = 7 * 24 * 3600 * 1000
# Seconds after which the other nodes give up one that hangs; Erlang's own are 60. Until then everything waits that the
# cluster has to agree on, such as the queue of a worker that comes back. With fewer a busy host would count as gone.
NET_TICK_S = 20
# Celery's own: events, remote control, replies, delays.
CONTROL = r"celeryev.*|.*celery\.pidbox|celery_delayed.*"
# Through it a message reaches any queue by its name: the scheduler sends tasks so, and a worker may not.
DIRECT = r"amq\.default"


def describe(place: Place) -> Part:
    nodes = place.addresses("broker")
    others = tuple(address for address in nodes if address != place.host.address)
    watchers = place.addresses("monitor")
    files = (
        HostFile(FOLDER / "rabbitmq.conf", render_config(place, nodes)),
        HostFile(FOLDER / "enabled_plugins", "[rabbitmq_prometheus].\n"),
        private(FOLDER / "definitions.json", render_definitions(place), USER),
        HostFile(DATA / ".erlang.cookie", place.credentials.erlang_cookie, USER, 0o400, USER),
    )
    # A node of one talks to nobody; nodes of a cluster find each other by address, without DNS.
    alone = not others
    env = {
        "RABBITMQ_NODENAME": "rabbit@localhost" if alone else f"rabbit@{place.host.address}",
        "RABBITMQ_USE_LONGNAME": "false" if alone else "true",
        "RABBITMQ_CONFIG_FILE": str(FOLDER / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(FOLDER / "enabled_plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_LOGS": "-",
        "ERL_EPMD_ADDRESS": "127.0.0.1" if alone else place.listen,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_interface('127.0.0.1' if alone else place.listen)} {_dead_peer()}",
        "HOME": str(DATA),
        # With another configuration or cookie it starts anew; users and queues it reads while it runs.
        "AIRFLEET_CONFIG": hashlib.sha256("".join(file.digest for file in (*files[:2], files[3])).encode()).hexdigest(),
    }
    service = Service(
        name="rabbitmq",
        what="RabbitMQ",
        stage=Stage.STORES,
        command=("/usr/lib/rabbitmq/bin/rabbitmq-server",),
        user=USER,
        files=files,
        env=env,
        reload=(("/usr/sbin/rabbitmqctl", "-q", "import_definitions", str(files[2].path)),),
        kind="notify",
        stop_s=120,
        wait_s=180,
        health=Tcp(AMQP, place.host.address),
    )
    return Part(
        name="rabbitmq",
        packages=("rabbitmq-server",),
        masks=("rabbitmq-server.service", "epmd.service", "epmd.socket"),
        folders=(Folder(FOLDER),),
        files=files,
        jobs=(end_logins(place, env),),
        services=(service,),
        ports=(
            Port(AMQP, place.addresses("scheduler", "worker"), "the queues"),
            *((Port(EPMD, others, "RabbitMQ's nodes"), Port(ERLANG, others, "RabbitMQ's nodes")) if others else ()),
            *((Port(RABBITMQ_METRICS, watchers, "metrics of RabbitMQ"),) if watchers else ()),
        ),
    )


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
    """Users with hashed passwords and what each may touch: only the queues of the pools, and Celery's own."""
    queues = "|".join(re.escape(queue) for queue in place.fleet.queues)
    every = f"^({queues}|{CONTROL})$"
    logins = list_logins(place)
    return json.dumps(
        {
            "vhosts": [{"name": VHOST}],
            "users": [
                {
                    "name": name,
                    "password_hash": hash_password(name, secret),
                    "hashing_algorithm": "rabbit_password_hashing_sha256",
                    "tags": "",
                }
                for name, secret in logins.items()
            ],
            "permissions": [
                {
                    "user": name,
                    "vhost": VHOST,
                    "configure": every,
                    "write": f"^({queues}|{CONTROL}|{DIRECT})$" if base == SCHEDULER else every,
                    "read": every,
                }
                for base in (SCHEDULER, WORKER)
                for name in logins
                if name.partition(".")[0] == base
            ],
        },
        indent=1,
    )


def list_logins(place: Place) -> dict[str, Secret]:
    """Every login with its password; while one is exchanged there are two for the same."""
    users = {SCHEDULER: place.credentials.broker_scheduler, WORKER: place.credentials.broker_worker}
    return {login: one for name, secret in users.items() for login, one in by_login(name, secret).items()}


def end_logins(place: Place, env: Mapping[str, str]) -> Job:
    """Remove what was a login of airfleet's and is none any more, which ends its connections."""
    valid = list_logins(place)
    bases = "|".join(sorted({name.partition(".")[0] for name in valid}))
    kept = "\n".join(valid)
    name = env["RABBITMQ_NODENAME"]
    long = "--longnames " if env["RABBITMQ_USE_LONGNAME"] == "true" else ""
    script = (
        f'export HOME={env["HOME"]}\ntool() {{ timeout 60 /usr/sbin/rabbitmqctl -s {long}-n {name} "$@"; }}\n'
        'users=$(tool list_users | cut -f 1); test -n "$users"\n'
        f"for user in $(printf '%s\\n' \"$users\" | {{ grep -E '^({bases})([.][0-9]+)?$' || true; }}"
        f" | {{ grep -vxF '{kept}' || true; }}); do\n"
        '  tool delete_user "$user"\ndone\n'
    )
    return Job("rabbitmq-logins", "end former logins", Stage.STORES, Secret(script), after=("rabbitmq",))


def url(place: Place, user: str, password: Secret) -> str:
    """Every node, in an order of this host's own, so that clients spread; Celery goes on when one dies."""
    nodes = place.addresses("broker")
    first = place.fleet.hosts.index(place.host) % len(nodes)
    ordered = nodes[first:] + nodes[:first]
    return ";".join(
        f"amqp://{find_login(user, password)}:{password.reveal()}@{address}:{AMQP}/{VHOST}" for address in ordered
    )

"""etcd on three hosts, by which two or more database hosts agree on the one that takes writes."""

from __future__ import annotations

import shlex

from airfleet.components.health import HttpCheck
from airfleet.components.host_model import (
    AUTHORITIES,
    ETC,
    ETCD,
    ETCD_METRICS,
    ETCD_PEERS,
    EVERY_ADDRESS,
    LIB,
    Folder,
    Job,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
)
from airfleet.components.hosts import certificates
from airfleet.shell_script import read_program, render_script
from airfleet.spec.addresses import join_port
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret, by_login, list_accepted
from airfleet.spec.topology import Host

NAME = "etcd"
UNIT = f"airfleet-{NAME}.service"
USER = "etcd"
DATA = LIB / NAME
FOLDER = ETC / NAME
# How the server first comes in, written once by the job that lets it join. A server with data reads no more of it.
JOINING = LIB / "etcd-joining.env"
# A follower that hears nothing for so long asks for votes. It is far below the time after which Patroni fails over, and
# far above a pause of a busy host.
HEARTBEAT_MS, ELECTION_MS = 250, 2500
# What Patroni may read and write.
LOGIN, PREFIX = "patroni", "/airfleet/"
# What Patroni calls the one cluster of database hosts of a fleet.
SCOPE = "postgresql"


def list_endpoints(fleet: Fleet, *, but: Host | None = None) -> list[str]:
    """Where clients reach each voter."""
    return [join_port(host.address, ETCD) for host in fleet.voters if host != but]


def describe(place: Place, settings: str) -> Part:
    """One of the voters; `settings` is what Patroni has to find there, in JSON."""
    fleet, own = place.fleet, place.own_address
    jobs: tuple[Job, ...] = (
        Job("etcd-join", "let etcd of this host join the others", Stage.CONSENSUS, Secret(_render_join(place))),
    )
    if place.host == fleet.voters[0]:
        script = _render_content(place, settings)
        content = Job("etcd-content", "logins and settings", Stage.CONSENSUS, Secret(script), after=(NAME,))
        jobs = (*jobs, content)
    is_everywhere = place.listen == EVERY_ADDRESS
    listen = EVERY_ADDRESS if is_everywhere else own
    clients = (listen,) if is_everywhere else ("127.0.0.1", listen)
    certificate, key = certificates.list_files(place, FOLDER, USER)
    command = (
        *("/usr/bin/etcd", "--name", place.host.name, "--data-dir", str(DATA)),
        *("--listen-client-urls", ",".join(f"https://{join_port(address, ETCD)}" for address in clients)),
        *("--advertise-client-urls", f"https://{join_port(place.host.address, ETCD)}"),
        *("--cert-file", str(certificate.path), "--key-file", str(key.path)),
        *("--listen-peer-urls", f"https://{join_port(listen, ETCD_PEERS)}"),
        *("--peer-cert-file", str(certificate.path), "--peer-key-file", str(key.path)),
        *("--peer-client-cert-auth", "--peer-trusted-ca-file", str(AUTHORITIES)),
        *("--initial-advertise-peer-urls", name_member(place.host)),
        # Nothing but the metrics is behind this port, so monitor hosts need not reach the clients' one.
        *(
            ("--listen-metrics-urls", f"https://{join_port(listen, ETCD_METRICS)}")
            if place.addresses("monitor")
            else ()
        ),
        *("--heartbeat-interval", str(HEARTBEAT_MS), "--election-timeout", str(ELECTION_MS)),
        *("--auto-compaction-retention", "1"),
    )
    service = Service(
        name=NAME,
        what="etcd",
        stage=Stage.CONSENSUS,
        command=command,
        user=USER,
        # It reads its certificate for each connection, and the authorities only at its start.
        files=certificates.describe(place).files,
        env_files=(JOINING,),
        # It listens before it has joined the others. It says that it is well once a majority answers.
        health=HttpCheck(f"https://127.0.0.1:{ETCD}/health"),
    )
    voters, askers = (tuple(host.address for host in hosts) for hosts in (fleet.voters, fleet.with_role("database")))
    monitors = place.addresses("monitor")
    return Part(
        name=NAME,
        packages=("etcd-server", "etcd-client"),
        masks=("etcd.service",),
        folders=(Folder(FOLDER), Folder(DATA, USER, USER, 0o700)),
        files=(certificate, key),
        jobs=jobs,
        services=(service,),
        ports=(
            OpenPort(ETCD, tuple(dict.fromkeys((*voters, *askers))), "Patroni agrees here on the primary"),
            OpenPort(ETCD_PEERS, voters, "etcd of the other voters"),
            *((OpenPort(ETCD_METRICS, monitors, "metrics of etcd"),) if monitors else ()),
        ),
    )


def name_member(host: Host) -> str:
    """Return the URL by which the members of etcd know a host."""
    return f"https://{join_port(host.address, ETCD_PEERS)}"


def list_members(place: Place) -> str:
    """Return a command for a host with etcd. It prints a line for each voter that answers: it, and the members' URLs.

    The host's own comes first.
    """
    addresses = dict.fromkeys(host.address for host in (place.host, *place.fleet.voters))
    program = read_program(__package__, "list_members")
    files = (AUTHORITIES, FOLDER / certificates.CERTIFICATE, FOLDER / certificates.KEY)
    words = ("-c", program, *map(str, files), *(join_port(address, ETCD_PEERS) for address in addresses))
    return f"{place.machine.system.python} {shlex.join(words)}"


def _render_join(place: Place) -> str:
    voters = place.fleet.voters
    certificate, key = certificates.list_files(place, FOLDER, USER)
    return render_script(
        __package__,
        "ask_etcd",
        "join_etcd",
        **_reach(place.fleet, but=place.host),
        ROOTS=_list_roots(place),
        NAME=place.host.name,
        OWN=name_member(place.host),
        PEERS=" ".join(map(name_member, voters)),
        OTHERS=" ".join(join_port(host.address, ETCD_PEERS) for host in voters if host != place.host),
        LIST_MEMBERS=read_program(__package__, "list_members"),
        CERTIFICATE=certificate.path,
        KEY=key.path,
        CLUSTER=",".join(f"{host.name}={name_member(host)}" for host in voters),
        TOKEN=place.credentials.identity,
        DATA=DATA,
        JOINING=JOINING,
        UNIT=UNIT,
    )


def _render_content(place: Place, settings: str) -> str:
    logins = by_login(LOGIN, place.credentials.cluster.etcd)
    return render_script(
        __package__,
        "ask_etcd",
        "fill_etcd",
        **_reach(place.fleet),
        ROOTS=_list_roots(place),
        ROOT=place.credentials.cluster.etcd_root.reveal(),
        LOGINS="\n".join(f"{login} {value.reveal()}" for login, value in logins.items()),
        LOGIN=LOGIN,
        PREFIX=PREFIX,
        KEY=f"{PREFIX}{SCOPE}/config",
        SETTINGS=settings,
    )


def _reach(fleet: Fleet, *, but: Host | None = None) -> dict[str, str]:
    """How the scripts reach the voters."""
    endpoints = ",".join(f"https://{one}" for one in list_endpoints(fleet, but=but))
    return {"ENDPOINTS": endpoints, "AUTHORITIES": str(AUTHORITIES)}


def _list_roots(place: Place) -> str:
    """Every password that root may have there now."""
    return " ".join(one.reveal() for one in list_accepted(place.credentials.cluster.etcd_root))

"""Prometheus and Alertmanager on the hosts with the role monitor. Two such hosts work as a pair.

Each of them scrapes everything and evaluates every rule. Each Prometheus sends its alerts to both Alertmanagers, which
tell each other what they have passed on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from airfleet.components.health import TcpCheck
from airfleet.components.host_model import (
    AGENTS_METRICS,
    ALERTMANAGER,
    ALERTMANAGER_PEERS,
    AUTHORITIES,
    ETC,
    ETCD_METRICS,
    LIB,
    LOG_STORE,
    PATRONI,
    PROMETHEUS,
    Folder,
    HostFile,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
    private,
)
from airfleet.components.hosts import agents, certificates, metrics
from airfleet.components.monitoring import alertmanager, grafana, rule_files
from airfleet.components.monitoring.prometheus import (
    OPTIONS,
    ScrapeJob,
    ScrapeTarget,
    render_config,
    scrape_agents,
    scrape_brokers,
)
from airfleet.spec.addresses import join_port
from airfleet.spec.sections.hosts import bytes_of
from airfleet.spec.topology import Host
from airfleet_provider.contract.notification_policy import derive_webhook_token

# Debian's packages make this user. It owns the data of both servers.
USER = "prometheus"
PROMETHEUS_FOLDER, ALERTMANAGER_FOLDER = ETC / "prometheus", ETC / "alertmanager"
RULES = PROMETHEUS_FOLDER / "rules"
GRAFANA = ETC / "grafana"
TOKEN = ALERTMANAGER_FOLDER / "token"
PROMETHEUS_DATA, ALERTMANAGER_DATA = LIB / "prometheus", LIB / "alertmanager"


def describe_prometheus(place: Place) -> Part:
    """Describe Prometheus on a monitor host. Only hosts that do not run tasks alone, and `readers`, reach it."""
    wanted = place.fleet.monitoring
    alertmanagers = _job_of_alertmanagers(place)
    config = HostFile(
        PROMETHEUS_FOLDER / "prometheus.yml", render_config(place.fleet.name, list_jobs(place), alertmanagers, RULES)
    )
    listed = rule_files.list_files(place.fleet, _read_expiries(place))
    rules = tuple(HostFile(RULES / name, text) for name, text in listed.items())
    web = _serve_tls(place, PROMETHEUS_FOLDER)
    boards = _list_boards(place)
    files = (config, *rules, *web)
    service = Service(
        name="prometheus",
        what="Prometheus: metrics of all hosts, and alerts",
        stage=Stage.EDGE,
        command=(
            "/usr/bin/prometheus",
            f"--config.file={config.path}",
            f"--storage.tsdb.path={PROMETHEUS_DATA}",
            f"--storage.tsdb.retention.time={wanted.retention}d",
            f"--storage.tsdb.retention.size={bytes_of(wanted.size)}B",
            f"--web.listen-address={join_port(place.listen, PROMETHEUS)}",
            *OPTIONS,
            f"--web.config.file={web[0].path}",
        ),
        user=USER,
        files=files,
        # A change of the rules, the targets or the certificate is read without a restart.
        reload=(("/usr/bin/promtool", "check", "config", str(config.path)), ("/bin/kill", "-HUP", "$MAINPID")),
        stop_s=60,
        # After a crash, it reads its write-ahead log first.
        wait_s=300,
        health=TcpCheck(PROMETHEUS, place.own_address),
        writes=(PROMETHEUS_DATA,),
    )
    readers = (*place.addresses("web", "scheduler", "balancer", "monitor"), *wanted.readers)
    return Part(
        name="prometheus",
        packages=("prometheus",),
        masks=("prometheus.service",),
        folders=(
            *map(Folder, sorted({PROMETHEUS_FOLDER, RULES, GRAFANA, *(board.path.parent for board in boards)})),
            Folder(PROMETHEUS_DATA, USER, USER, 0o750),
        ),
        files=(*files, *boards),
        services=(service,),
        ports=(OpenPort(PROMETHEUS, tuple(dict.fromkeys(readers)), "Prometheus"),),
    )


def describe_alertmanager(place: Place) -> Part:
    """Describe Alertmanager on a monitor host. It passes alerts on to the agents of all scheduler hosts.

    It has no logins, and who reaches it can silence every alert. So it answers only who has the key of a host, which
    no task and no other user of a host can read.
    """
    others = [host.address for host in place.fleet.with_role("monitor") if host != place.host]
    token = private(TOKEN, derive_webhook_token(place.credentials.platform.jwt_secret.reveal()), USER)
    config = HostFile(ALERTMANAGER_FOLDER / "alertmanager.yml", _render_alertmanager(place))
    web = _serve_tls(
        place, ALERTMANAGER_FOLDER, "client_auth_type: RequireAndVerifyClientCert", f"client_ca_file: {AUTHORITIES}"
    )
    peers = HostFile(ALERTMANAGER_FOLDER / "peers.yml", _render_peers(web[1], web[2]))
    files = (config, token, *web, *((peers,) if others else ()))
    listen = join_port(place.listen, ALERTMANAGER_PEERS) if others else ""
    trusted = hashlib.sha256(place.credentials.encryption.trusted.encode()).hexdigest()
    service = Service(
        name="alertmanager",
        what="Alertmanager: passes alerts on to the agents",
        stage=Stage.EDGE,
        command=(
            "/usr/bin/prometheus-alertmanager",
            f"--config.file={config.path}",
            f"--storage.path={ALERTMANAGER_DATA}",
            f"--web.listen-address={join_port(place.listen, ALERTMANAGER)}",
            f"--web.config.file={web[0].path}",
            f"--cluster.listen-address={listen}",
            *((f"--cluster.advertise-address={join_port(place.own_address, ALERTMANAGER_PEERS)}",) if others else ()),
            *((f"--cluster.tls-config={peers.path}",) if others else ()),
            *(f"--cluster.peer={join_port(address, ALERTMANAGER_PEERS)}" for address in others),
        ),
        user=USER,
        files=files,
        # It reads the authorities of its peers at its start only. Certificates it reads at each connection.
        env={"AIRFLEET_CONFIG": trusted} if others else {},
        reload=(("/usr/bin/amtool", "check-config", str(config.path)), ("/bin/kill", "-HUP", "$MAINPID")),
        health=TcpCheck(ALERTMANAGER, place.own_address),
        writes=(ALERTMANAGER_DATA,),
    )
    clients = place.addresses("monitor")
    return Part(
        name="alertmanager",
        packages=("prometheus-alertmanager",),
        masks=("prometheus-alertmanager.service",),
        folders=(Folder(ALERTMANAGER_FOLDER), Folder(ALERTMANAGER_DATA, USER, USER, 0o750)),
        files=files,
        services=(service,),
        ports=(
            OpenPort(ALERTMANAGER, clients, "Alertmanager"),
            *((OpenPort(ALERTMANAGER_PEERS, tuple(others), "the other Alertmanager"),) if others else ()),
        ),
    )


def _render_alertmanager(place: Place) -> str:
    authorities = AUTHORITIES if place.credentials.encryption.agents.is_used else None
    return alertmanager.render_config(agents.list_urls(place), TOKEN, authorities=authorities)


def _render_peers(certificate: HostFile, key: HostFile) -> str:
    """Return the file that makes Alertmanagers speak TLS among each other. Each asks for the certificate of a host.

    A silence of one goes to the other, so who could speak there could silence every alert.
    """
    own = {"cert_file": str(certificate.path), "key_file": str(key.path)}
    asks = {"client_ca_file": str(AUTHORITIES), "client_auth_type": "RequireAndVerifyClientCert"}
    config = {"tls_server_config": {**own, **asks}, "tls_client_config": {**own, "ca_file": str(AUTHORITIES)}}
    return f"# Written by airfleet.\n{yaml.safe_dump(config, sort_keys=False)}"


def list_jobs(place: Place) -> tuple[ScrapeJob, ...]:
    """Return what each monitor host scrapes: every exporter of every host of the fleet."""
    fleet = place.fleet
    monitors = fleet.with_role("monitor")
    return (
        scrape_agents(
            _targets(fleet.with_role("scheduler"), fleet.ports.metrics or AGENTS_METRICS),
            authorities=AUTHORITIES if place.credentials.encryption.agents.is_used else None,
        ),
        _watch(place, metrics.NODE, fleet.hosts),
        _watch(place, metrics.POSTGRESQL, fleet.with_role("database")),
        _job("patroni", _list_patroni(place), PATRONI, authorities=AUTHORITIES),
        _job("etcd", fleet.voters, ETCD_METRICS, authorities=AUTHORITIES),
        *scrape_brokers(_watch(place, metrics.RABBITMQ, fleet.with_role("broker"))),
        _watch(place, metrics.BALANCER, fleet.with_role("balancer")),
        _watch(place, metrics.PROXY, fleet.with_role("worker")),
        _watch(place, metrics.LOGS, fleet.hosts if fleet.with_role("logs") else ()),
        _job("log-store", fleet.with_role("logs"), LOG_STORE, authorities=AUTHORITIES),
        _job("prometheus", monitors, PROMETHEUS, authorities=AUTHORITIES),
        _job_of_alertmanagers(place),
    )


def _read_expiries(place: Place) -> Iterator[rule_files.Expiry]:
    """Yield when the certificates of all hosts end, and the balancer's own."""
    certificates_of = place.credentials.encryption.certificates
    for host in place.fleet.hosts:
        yield from rule_files.read_expiries(host.name, "host", certificates_of[host.name].certificate)
    if place.objects.tls:
        for host in place.fleet.with_role("balancer"):
            yield from rule_files.read_expiries(host.name, "balancer", place.objects.tls.reveal())


def _list_boards(place: Place) -> tuple[HostFile, ...]:
    """Return the files for a Grafana on this host. They hold no secret."""
    url = f"https://{join_port(place.own_address, PROMETHEUS)}"
    files = grafana.list_files(GRAFANA, url, place.credentials.encryption.trusted)
    return tuple(HostFile(path, text) for path, text in files.items())


def _job(name: str, hosts: Iterable[Host], port: int, *, authorities: Path | None = None) -> ScrapeJob:
    return ScrapeJob(name, _targets(hosts, port), authorities=authorities)


def _job_of_alertmanagers(place: Place) -> ScrapeJob:
    job = _job("alertmanager", place.fleet.with_role("monitor"), ALERTMANAGER, authorities=AUTHORITIES)
    return replace(job, proof=_find_proof(place))


def _watch(place: Place, exporter: metrics.HostExporter, hosts: Iterable[Host]) -> ScrapeJob:
    """Return the job that scrapes an exporter of some hosts, with TLS once all of them offer it."""
    targets = tuple(ScrapeTarget(metrics.find_target(place, host, exporter), host.name) for host in hosts)
    if not place.credentials.encryption.metrics.is_used:
        return ScrapeJob(exporter.name, targets)
    path = f"/{exporter.name}/metrics"
    return ScrapeJob(exporter.name, targets, path, authorities=AUTHORITIES, proof=_find_proof(place))


def _find_proof(place: Place) -> tuple[Path, Path]:
    certificate, key = (file.path for file in certificates.list_files(place, PROMETHEUS_FOLDER, USER))
    return certificate, key


def _list_patroni(place: Place) -> tuple[Host, ...]:
    """Return the hosts that run Patroni: those with a database, if there are several."""
    hosts = place.fleet.with_role("database")
    return hosts if len(hosts) > 1 else ()


def _targets(hosts: Iterable[Host], port: int) -> tuple[ScrapeTarget, ...]:
    return tuple(ScrapeTarget(join_port(host.address, port), host.name) for host in hosts)


def _serve_tls(place: Place, folder: Path, *more: str) -> tuple[HostFile, ...]:
    """Return the file that makes a server speak TLS, and the host's certificate and key. Each connection reads them.

    `more` are further lines about TLS.
    """
    proof = certificates.list_files(place, folder, USER)
    lines = ["# Written by airfleet.", "tls_server_config:"]
    lines += [f"  cert_file: {proof[0].path}", f"  key_file: {proof[1].path}", "  min_version: TLS13"]
    lines += [*(f"  {line}" for line in more), ""]
    return HostFile(folder / "web.yml", "\n".join(lines)), *proof

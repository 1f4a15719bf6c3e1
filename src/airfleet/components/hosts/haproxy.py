"""HAProxy: the balancer in front of the web hosts, what ends TLS on a web host, and a proxy on each worker host."""

from __future__ import annotations

from airfleet.components.health import LOOPBACK, TcpCheck
from airfleet.components.host_model import (
    API,
    API_TLS,
    AUTHORITIES,
    BALANCER_STATE,
    ETC,
    EVERY_ADDRESS,
    EXECUTION,
    EXECUTION_TLS,
    LIB,
    METRICS_TLS,
    PROXY,
    Folder,
    HostFile,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
)
from airfleet.components.hosts import entrances, log_servers, metrics, web_ports
from airfleet.spec.addresses import bracket, join_port
from airfleet.spec.secrets import Secret
from airfleet.template import render_template
from airfleet_provider.contract import slot_rules

FOLDER = ETC / "haproxy"
# Only root and HAProxy may enter this folder: a process that can write to a socket in it controls that HAProxy.
SOCKETS = LIB / "haproxy"
# The certificate of this host with its key, in one file.
CERTIFICATE = FOLDER / "host.pem"
BACKENDS = ("web", "execution")
USER = "haproxy"
# Workers have no access to the database. They fetch the files of a release from this path of a web host.
RELEASES_PATH = "/airfleet/releases/"
# An address whose requests for a token at this path fail more often than this in a minute has to wait.
LOGIN_PATH = "/auth/token"
LOGIN_FAILURES = 10
# A failure counts when the answer comes, and a client may send many requests before that. So attempts have a limit too.
LOGIN_ATTEMPTS = 60
# The number of the 4000 connections that one address may hold. Browsers behind one NAT share an address.
CONNECTIONS_PER_SOURCE = 500
# A browser that has seen this header uses only HTTPS for this host, for a year.
HSTS = "max-age=31536000"


def describe_balancer(place: Place) -> Part:
    """Describe the balancer of UI and REST API. No web host is preferred, because sessions are in the database."""
    port = place.fleet.ports.api
    files = [HostFile(FOLDER / "balancer.cfg", render_balancer(place))]
    if place.fleet.tls and place.objects.tls:
        files.append(HostFile(FOLDER / "fleet.pem", place.objects.tls, USER, 0o640))
    service = _service(
        "balancer", "spreads UI and API over the web hosts", (*files, _trust(place)), port, place.own_address
    )
    ports = (*entrances.open_ui(place), *metrics.open_port(place, metrics.BALANCER, "metrics of HAProxy"))
    return _part(tuple(files), service, ports)


def render_balancer(place: Place) -> str:
    """Return the balancer's configuration. It removes clients' forwarding headers, and limits slow requests."""
    return render_template(
        __package__,
        "balancer.cfg",
        name="balancer",
        sockets=SOCKETS,
        # A host that does not have the shared address or the tunnel's now may have it in a moment.
        listen=EVERY_ADDRESS if place.fleet.balancer or entrances.ends_tunnel(place) else bracket(place.listen),
        state=f"{LOOPBACK}:{BALANCER_STATE}" if place.fleet.balancer else "",
        port=place.fleet.ports.api,
        certificate=FOLDER / "fleet.pem" if place.fleet.tls else None,
        connections_per_source=CONNECTIONS_PER_SOURCE,
        private_paths=(RELEASES_PATH.rstrip("/"), slot_rules.PATH),
        login=LOGIN_PATH,
        login_failures=LOGIN_FAILURES,
        login_attempts=LOGIN_ATTEMPTS,
        hsts=HSTS,
        authorities=AUTHORITIES,
        upstreams=web_ports.list_upstreams(place, API),
        metrics=_find_metrics_address(place, metrics.BALANCER),
    )


def describe_tls(place: Place) -> Part:
    """Describe what ends TLS in front of a web host's servers. A host whose servers no other host uses has none."""
    ports = {API_TLS: web_ports.list_clients(place, API), EXECUTION_TLS: web_ports.list_clients(place, EXECUTION)}
    why = {API_TLS: "the balancer and releases", EXECUTION_TLS: "tasks report here; schedulers check that they can"}
    if not any(ports.values()):
        return Part(name="tls-proxy")
    files = (HostFile(FOLDER / "tls-proxy.cfg", render_tls(place)), _certify(place))
    return _part(
        files,
        _service("tls-proxy", "ends TLS before the servers", files, EXECUTION_TLS, place.own_address),
        tuple(OpenPort(port, sources, why[port]) for port, sources in ports.items() if sources),
    )


def render_tls(place: Place) -> str:
    """Return the configuration of what ends TLS. Only a balancer of another host may say where a request came from."""
    balancers = place.addresses("balancer")
    return render_template(
        __package__,
        "tls-proxy.cfg",
        name="tls-proxy",
        sockets=SOCKETS,
        listen=bracket(place.listen),
        certificate=CERTIFICATE,
        is_balanced=bool(balancers),
        balancers=tuple(one for one in balancers if one not in (place.host.address, place.own_address)),
        api_port=API_TLS,
        execution_port=EXECUTION_TLS,
        api=join_port(web_ports.find_near(place, API), web_ports.find_port(place, API)),
        execution=join_port(web_ports.find_near(place, EXECUTION), EXECUTION),
    )


def _trust(place: Place) -> HostFile:
    """Return the file of the authorities: HAProxy reads it at its start and at a reload."""
    return HostFile(AUTHORITIES, place.credentials.encryption.trusted)


def _certify(place: Place) -> HostFile:
    """Return the file with the certificate of this host and its key."""
    return HostFile(CERTIFICATE, join_tls(place.certificate.certificate, place.certificate.key), USER, 0o640)


def describe_proxy(place: Place) -> Part:
    """Describe the proxy of a worker host. Tasks reach a healthy web host through it, and depend on no balancer."""
    files = (HostFile(FOLDER / "proxy.cfg", render_proxy(place)),)
    return _part(
        files,
        _service("proxy", "leads tasks to the execution API", (*files, _trust(place)), PROXY, LOOPBACK),
        metrics.open_port(place, metrics.PROXY, "metrics of HAProxy"),
    )


def render_proxy(place: Place) -> str:
    return render_template(
        __package__,
        "proxy.cfg",
        name="proxy",
        sockets=SOCKETS,
        port=PROXY,
        web_paths=(RELEASES_PATH, f"{slot_rules.PATH}/"),
        authorities=AUTHORITIES,
        execution=web_ports.list_upstreams(place, EXECUTION),
        web=web_ports.list_upstreams(place, API),
        metrics=_find_metrics_address(place, metrics.PROXY),
    )


def describe_logs(place: Place) -> Part:
    """Describe what ends TLS in front of the log servers of a host. A host whose logs no other host reads has none."""
    servers = log_servers.list_servers(place)
    if not servers:
        return Part(name="log-proxy")
    files = (HostFile(FOLDER / "log-proxy.cfg", render_logs(place)), _certify(place))
    service = _service(
        "log-proxy", "ends TLS before the log servers", files, servers[0].port, place.own_address, stage=Stage.EDGE
    )
    return _part(files, service)


def render_logs(place: Place) -> str:
    """Return the configuration of what ends TLS in front of log servers.

    Clients may go without TLS until all web hosts use it.
    """
    return render_template(
        __package__,
        "log-proxy.cfg",
        name="log-proxy",
        sockets=SOCKETS,
        listen=bracket(place.listen),
        loopback=LOOPBACK,
        certificate=CERTIFICATE,
        servers=log_servers.list_servers(place),
        is_required=place.credentials.encryption.logs.is_required,
    )


def describe_metrics(place: Place) -> Part:
    """Describe what ends TLS in front of the exporters of a host. Only monitor hosts reach it."""
    if not metrics.list_exporters(place):
        return Part(name="metrics-proxy")
    files = (HostFile(FOLDER / "metrics-proxy.cfg", render_metrics(place)), _certify(place))
    service = _service(
        "metrics-proxy",
        "ends TLS before the exporters of metrics",
        (*files, _trust(place)),
        METRICS_TLS,
        place.own_address,
        stage=Stage.EDGE,
    )
    return _part(files, service, (OpenPort(METRICS_TLS, place.addresses("monitor"), "metrics of all exporters"),))


def render_metrics(place: Place) -> str:
    """Return the configuration of what ends TLS in front of the exporters of a host."""
    return render_template(
        __package__,
        "metrics-proxy.cfg",
        name="metrics-proxy",
        sockets=SOCKETS,
        listen=bracket(place.listen),
        near=bracket(metrics.find_own_address(place)),
        port=METRICS_TLS,
        certificate=CERTIFICATE,
        authorities=AUTHORITIES,
        monitors=[host.name for host in place.fleet.with_role("monitor")],
        exporters=metrics.list_exporters(place),
    )


def _find_metrics_address(place: Place, exporter: metrics.HostExporter) -> str:
    """Return the address of HAProxy's metrics, or "" if the fleet has no monitor host that could read them."""
    return join_port(metrics.find_listener(place), exporter.port) if place.addresses("monitor") else ""


def _part(files: tuple[HostFile, ...], service: Service, ports: tuple[OpenPort, ...] = ()) -> Part:
    """Return the part of one HAProxy, with the name of its service. Debian's own HAProxy does not run."""
    return Part(
        name=service.name,
        packages=("haproxy",),
        masks=("haproxy.service",),
        folders=(Folder(FOLDER), Folder(SOCKETS, USER, USER, 0o700)),
        files=files,
        services=(service,),
        ports=ports,
    )


def _service(
    name: str, what: str, files: tuple[HostFile, ...], port: int, address: str, *, stage: Stage = Stage.API
) -> Service:
    config = str(FOLDER / f"{name}.cfg")
    return Service(
        name=name,
        what=what,
        stage=stage,
        command=("/usr/sbin/haproxy", "-Ws", "-f", config),
        user=USER,
        files=files,
        # After a reload, the old processes serve open connections to their end.
        reload=(("/usr/sbin/haproxy", "-c", "-q", "-f", config), ("/bin/kill", "-USR2", "$MAINPID")),
        kind="notify",
        stop_signal="SIGUSR1",
        stop_s=60,
        health=TcpCheck(port, address),
    )


def join_tls(certificate: str, key: Secret) -> Secret:
    """Return the certificate and its key as the one file that HAProxy reads."""
    return Secret(f"{certificate.rstrip()}\n{key.reveal().rstrip()}\n")

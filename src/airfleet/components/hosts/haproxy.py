"""HAProxy: the balancer in front of the web hosts, and on each worker host a proxy to the execution API."""

from __future__ import annotations

from airfleet.components.health import TcpCheck
from airfleet.components.host_model import (
    API,
    BALANCER_METRICS,
    ETC,
    EXECUTION,
    LIB,
    PROXY,
    PROXY_METRICS,
    Folder,
    HostFile,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
)
from airfleet.spec.secrets import Secret
from airfleet.template import render_template

FOLDER = ETC / "haproxy"
# Only root and HAProxy may enter this folder: a process that can write to a socket in it controls that HAProxy.
SOCKETS = LIB / "haproxy"
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
    return Part(
        name="balancer",
        packages=("haproxy",),
        masks=("haproxy.service",),
        folders=(Folder(FOLDER), Folder(SOCKETS, USER, USER, 0o700)),
        files=tuple(files),
        services=(
            _service("balancer", "spreads UI and API over the web hosts", tuple(files), port, place.own_address),
        ),
        ports=(OpenPort(port, (), "UI and API"), *_open_metrics(place, BALANCER_METRICS)),
    )


def render_balancer(place: Place) -> str:
    """Return the balancer's configuration. It removes clients' forwarding headers, and limits slow requests."""
    return render_template(
        __package__,
        "balancer.cfg",
        name="balancer",
        sockets=SOCKETS,
        listen=place.listen,
        port=place.fleet.ports.api,
        certificate=FOLDER / "fleet.pem" if place.fleet.tls else None,
        connections_per_source=CONNECTIONS_PER_SOURCE,
        releases=RELEASES_PATH.rstrip("/"),
        login=LOGIN_PATH,
        login_failures=LOGIN_FAILURES,
        login_attempts=LOGIN_ATTEMPTS,
        hsts=HSTS,
        web_port=API,
        hosts=place.fleet.with_role("web"),
        metrics=_find_metrics_address(place, BALANCER_METRICS),
    )


def describe_proxy(place: Place) -> Part:
    """Describe the proxy of a worker host. Tasks reach a healthy web host through it, and depend on no balancer."""
    files = (HostFile(FOLDER / "proxy.cfg", render_proxy(place)),)
    return Part(
        name="proxy",
        packages=("haproxy",),
        masks=("haproxy.service",),
        folders=(Folder(FOLDER), Folder(SOCKETS, USER, USER, 0o700)),
        files=files,
        services=(_service("proxy", "leads tasks to the execution API", files, PROXY, "127.0.0.1"),),
        ports=_open_metrics(place, PROXY_METRICS),
    )


def render_proxy(place: Place) -> str:
    return render_template(
        __package__,
        "proxy.cfg",
        name="proxy",
        sockets=SOCKETS,
        port=PROXY,
        releases=RELEASES_PATH,
        execution_port=EXECUTION,
        web_port=API if place.fleet.with_role("balancer") else place.fleet.ports.api,
        hosts=place.fleet.with_role("web"),
        metrics=_find_metrics_address(place, PROXY_METRICS),
    )


def _find_metrics_address(place: Place, port: int) -> str:
    """Return the address of HAProxy's metrics, or "" if the fleet has no monitor host that could read them."""
    return f"{place.listen}:{port}" if place.addresses("monitor") else ""


def _open_metrics(place: Place, port: int) -> tuple[OpenPort, ...]:
    watchers = place.addresses("monitor")
    return (OpenPort(port, watchers, "metrics of HAProxy"),) if watchers else ()


def _service(name: str, what: str, files: tuple[HostFile, ...], port: int, address: str) -> Service:
    config = str(FOLDER / f"{name}.cfg")
    return Service(
        name=name,
        what=what,
        stage=Stage.API,
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

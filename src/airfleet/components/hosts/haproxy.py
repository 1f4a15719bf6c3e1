"""HAProxy: the balancer in front of the web hosts, and on each worker host a proxy to the execution API."""

from __future__ import annotations

from airfleet.components.health import TcpCheck
from airfleet.components.host_model import (
    API,
    ETC,
    EXECUTION,
    LIB,
    PROXY,
    Folder,
    HostFile,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
)
from airfleet.spec.secrets import Secret

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
COMMON = f"""\
# Written by airfleet.
global
  log stdout format raw daemon notice
  stats socket {SOCKETS}/{{name}}.sock mode 600 level admin
  maxconn 4000
  hard-stop-after 60s
defaults
  mode http
  log global
  option httplog
  option dontlog-normal
  option redispatch
  retries 3
  retry-on conn-failure empty-response
  timeout connect 3s
  # A request's head has to arrive within this time.
  timeout http-request 10s
  timeout client 5m
  timeout server 5m
  timeout http-keep-alive 60s
  timeout check 3s
  default-server inter 2s fall 2 rise 1 slowstart 5s
"""


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
        ports=(OpenPort(port, (), "UI and API"),),
    )


def render_balancer(place: Place) -> str:
    """Return the balancer's configuration. It removes clients' forwarding headers, and limits slow requests."""
    tls = f" ssl crt {FOLDER / 'fleet.pem'} alpn h2,http/1.1" if place.fleet.tls else ""
    hsts = f'  http-after-response set-header Strict-Transport-Security "{HSTS}"\n' if tls else ""
    return f"""\
{COMMON.format(name="balancer")}\
  # The first 16 KiB of a body have to arrive as soon as the head.
  option http-buffer-request
  timeout client 1m
frontend ui
  bind {place.listen}:{place.fleet.ports.api}{tls}
  stick-table type ipv6 size 100k expire 10m store conn_cur,gpc0,gpc0_rate(1m),gpc1,gpc1_rate(1m)
  # Who has one address of IPv6 has 2^64 of them.
  tcp-request connection track-sc0 src,ipmask(32,64)
  tcp-request connection reject if {{ sc_conn_cur(0) gt {CONNECTIONS_PER_SOURCE} }}
  # What workers fetch is for workers. The web hosts decode a path once, so it is decoded once here.
  http-request set-var(txn.path) path,url_dec,regsub(/+,/,g)
  # One that cannot be decoded would pass the rules below.
  http-request deny deny_status 400 unless {{ var(txn.path) -m found }}
  http-request deny if {{ var(txn.path) -i -m beg {RELEASES_PATH.rstrip("/")} /execution }}
  http-request deny if {{ var(txn.path) -m reg (^|/)[.][.]?(/|$) }}
  http-request set-var(txn.login) bool(true) if METH_POST {{ var(txn.path) -m beg {LOGIN_PATH} }}
  acl is_login var(txn.login) -m bool
  http-request return status 429 hdr Retry-After 60 content-type text/plain string "Too many failed logins\\n" \
if is_login {{ sc_gpc0_rate(0) gt {LOGIN_FAILURES} }} or is_login {{ sc_gpc1_rate(0) ge {LOGIN_ATTEMPTS} }}
  http-request sc-inc-gpc1(0) if is_login
  http-response sc-inc-gpc0(0) if is_login {{ status 401 }}
  # Only this balancer says where a request came from.
  http-request del-header Forwarded
  http-request del-header X-Forwarded- -m beg
  http-request del-header X-Real-IP
  # To what reads requests by CGI's rules, as Flask does, an underscore is a hyphen.
  http-request del-header _ -m sub
  option forwardfor
  http-request set-header X-Forwarded-Proto {"https" if tls else "http"}
  http-after-response set-header X-Content-Type-Options nosniff
  http-after-response set-header X-Frame-Options SAMEORIGIN
  http-after-response set-header Content-Security-Policy "frame-ancestors 'self'" \
unless {{ res.hdr(Content-Security-Policy) -m found }}
{hsts}  default_backend web
{_backend("web", place, API, "/api/v2/version", 200)}"""


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
    )


def render_proxy(place: Place) -> str:
    web = API if place.fleet.with_role("balancer") else place.fleet.ports.api
    return (
        f"{COMMON.format(name='proxy')}"
        f"frontend tasks\n  bind 127.0.0.1:{PROXY}\n  use_backend web if {{ path_beg {RELEASES_PATH} }}\n"
        "  default_backend execution\n"
        f"{_backend('execution', place, EXECUTION, '/execution/health', 200)}"
        f"{_backend('web', place, web, '/api/v2/version', 200)}"
    )


def _backend(name: str, place: Place, port: int, path: str, status: int) -> str:
    servers = "".join(f"  server {host.name} {host.address}:{port} check\n" for host in place.fleet.with_role("web"))
    check = f"  option httpchk GET {path}\n  http-check expect status {status}\n"
    return f"backend {name}\n  balance leastconn\n{check}{servers}"


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

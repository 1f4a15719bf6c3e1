"""Services as systemd units, and their health checks as shell commands."""

from __future__ import annotations

import hashlib
import shlex
from typing import assert_never
from urllib.parse import urlsplit

from airfleet.components.health import CandidateCheck, HeartbeatCheck, HttpCheck, NoteCheck, TcpCheck
from airfleet.components.host_model import ETC, RUN, HostFile, Service
from airfleet.runners.fleet.transport import http_request
from airfleet.spec.topology import Limits
from airfleet.template import render_template
from airfleet_provider.contract import environment

FOLDER = "/etc/systemd/system"
PROBE = "airfleet_provider.liveness.process_probe"
PROBE_S = 15
HTTP_S = 10
# A worker's note names its tasks.
NOTE_S, NOTE_BYTES = 3, 1 << 20
# `systemd-analyze security` explains each line.
SANDBOX = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectProc": "invisible",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectControlGroups": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service",
    "SystemCallErrorNumber": "EPERM",
    "UMask": "0077",
}
TARGETS = "network-online.target airfleet-firewall.service"


def render(service: Service) -> str:
    """Return the unit file. At each start it records the service's fingerprint, for the next survey."""
    return render_template(
        __package__,
        "service.unit",
        service=service,
        is_oneshot=service.kind == "oneshot",
        after=" ".join((TARGETS, *service.after)),
        environment=[(key, _escape(value)) for key, value in sorted(service.env.items())],
        run=RUN,
        note=f"/bin/cp -f {fingerprint_path(service)} {RUN}/{service.unit}",
        command=_join(service.command),
        stop=_join(service.undo) if service.undo else "",
        reloads=[_join(command) for command in service.reload],
        confinement=confine(service),
        limits=_limit(service.limits),
    )


def confine(service: Service) -> list[str]:
    """Return the lines of systemd's sandbox: SANDBOX, changed by the service's `sandbox`, and its writable folders."""
    wanted = {**SANDBOX, **service.sandbox}
    lines = [f"{key}={value}" for key, value in wanted.items()]
    # With `-`, a service starts even if a folder is missing, such as that of a socket before its package is configured.
    writes = " ".join(f"-{_escape(str(path))}" for path in service.writes)
    return [*lines, f"ReadWritePaths={writes}"] if writes and wanted["ProtectSystem"] == "strict" else lines


def fingerprint_path(service: Service) -> str:
    return str(ETC / "units" / service.unit)


def fingerprint(service: Service) -> HostFile:
    """Return the fingerprint of a service: a digest of its unit in line one, and of the files it reads in line two."""
    unit = hashlib.sha256(render(service).encode()).hexdigest()
    files = hashlib.sha256("".join(f"{file.path} {file.digest}\n" for file in service.files).encode()).hexdigest()
    return HostFile(ETC / "units" / service.unit, f"{unit}\n{files}\n")


def check(service: Service) -> str:
    """Return a shell command that succeeds while the service is healthy."""
    active = f"systemctl is-active -q {service.unit}"
    match service.health:
        case TcpCheck(port, address):
            return f"{active} && timeout 3 bash -c {shlex.quote(f'exec 3<>/dev/tcp/{address}/{port}')} 2>/dev/null"
        case HttpCheck(login=(_, _)):
            raise TypeError(f"{service.name}: the fleet's runner logs in nowhere for a health check")
        case HttpCheck(url) if url.startswith("https:"):
            return f"{active} && {http_request.build_tls_command('python3', url, timeout_s=HTTP_S)} >/dev/null 2>&1"
        case HttpCheck(url, status):
            parts = urlsplit(url)
            if parts.hostname is None or parts.port is None:
                raise ValueError(f"no host or no port in {url}")
            ask = http_request.build_command(
                parts.hostname, parts.port, parts.path or "/", status=status, timeout_s=HTTP_S
            )
            return f"{active} && {ask} 2>/dev/null"
        case HeartbeatCheck(job_type, max_age_s):
            address = service.env[environment.ADDRESS]
            return f"{active} && {_probe(service, 'heartbeat', job_type, address, f'{max_age_s:g}')}"
        case CandidateCheck(name, max_age_s):
            return f"{active} && {_probe(service, 'seat', name, f'{max_age_s:g}')}"
        case NoteCheck(path):
            # The file belongs to the user of the process, who could make it a pipe that nobody writes to, or endless.
            read = f"runuser -u {service.user} -- timeout {NOTE_S} head -c {NOTE_BYTES} {shlex.quote(str(path))}"
            names = rf'''"\"pid\": $(systemctl show -P MainPID {service.unit})[,}}]"'''
            return f"{active} && {read} 2>/dev/null | grep -q {names}"
        case None:
            return active
        case _ as never:
            assert_never(never)


def _probe(service: Service, *words: str) -> str:
    """Return a command that checks in the metadata database whether the present process of the service works."""
    config = shlex.quote(f"AIRFLOW_CONFIG={service.env['AIRFLOW_CONFIG']}")
    probe = f"{service.command[0]} -m {PROBE} $(systemctl show -P MainPID {service.unit}) {shlex.join(words)}"
    return f"runuser -u {service.user} -- env {config} timeout {PROBE_S} {probe} 2>/dev/null"


def port_of(service: Service) -> int | None:
    """Return the port of the service's health check, which must be free before its first start, or None."""
    match service.health:
        case TcpCheck(port):
            return port
        case HttpCheck(url):
            return urlsplit(url).port
        case HeartbeatCheck() | CandidateCheck() | NoteCheck() | None:
            return None
        case _ as never:
            assert_never(never)


def _limit(limits: Limits) -> list[str]:
    lines = [f"IOWeight={limits.io_weight}"] if limits.io_weight != Limits().io_weight else []
    if limits.cpu_weight != Limits().cpu_weight:
        lines.append(f"CPUWeight={limits.cpu_weight}")
    if limits.memory is not None:
        # The kernel throttles the pool before it kills a process. Swap would only make the pool slow.
        lines += [f"MemoryHigh={limits.memory * 9 // 10}", f"MemoryMax={limits.memory}", "MemorySwapMax=0"]
    if limits.cpus is not None:
        lines.append(f"CPUQuota={limits.cpus * 100:g}%")
    if limits.tasks is not None:
        lines.append(f"TasksMax={limits.tasks}")
    return lines


def _join(command: tuple[str, ...]) -> str:
    return " ".join(word if word == "$MAINPID" else _quote(word) for word in command)


def _quote(word: str) -> str:
    plain = _escape(word).replace("$", "$$")
    return f'"{plain}"' if any(letter in plain for letter in " ;\t'") or not plain else plain


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")

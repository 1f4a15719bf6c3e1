"""Services as systemd units, and their health checks as shell commands."""

from __future__ import annotations

import hashlib
import shlex
from typing import assert_never
from urllib.parse import urlsplit

from airfleet.components.health import CandidateCheck, HeartbeatCheck, HttpCheck, TcpCheck
from airfleet.components.host_model import ETC, RUN, HostFile, Service
from airfleet.runners.fleet.transport import http_request
from airfleet.spec.topology import Limits
from airfleet_provider.contract import environment

FOLDER = "/etc/systemd/system"
PROBE = "airfleet_provider.liveness.process_probe"
PROBE_S = 15
HTTP_S = 10
# `systemd-analyze security` says what each is good for.
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
    """The unit file. It notes what it was started from, so that a later look can tell whether that has changed."""
    note = f"/bin/cp -f {fingerprint_path(service)} {RUN}/{service.unit}"
    lines = [
        "# Written by airfleet; say it in fleet.yaml instead.",
        "[Unit]",
        f"Description=airfleet: {service.what}",
        "StartLimitIntervalSec=0",
    ]
    after = " ".join((TARGETS, *service.after))
    lines += [] if service.kind == "oneshot" else [f"After={after}", "Wants=network-online.target"]
    lines += ["", "[Service]", f"Type={service.kind}", f"User={service.user}"]
    lines += [f'Environment="{key}={_escape(value)}"' for key, value in sorted(service.env.items())]
    lines += [f"EnvironmentFile={path}" for path in service.env_files]
    lines += [f"ExecStartPre=+/bin/mkdir -p {RUN}", f"ExecStartPre=+{note}", f"ExecStart={_join(service.command)}"]
    lines += [f"ExecStop={_join(service.undo)}"] if service.undo else []
    lines += [f"ExecReload={_join(command)}" for command in service.reload]
    lines += [f"ExecReload=+{note}"] if service.reload else []
    lines += confine(service)
    if service.kind == "oneshot":
        lines += ["RemainAfterExit=yes"]
    else:
        lines += [
            "Restart=always",
            "RestartSec=2",
            f"KillMode={service.kill_mode}",
            f"KillSignal={service.stop_signal}",
            f"TimeoutStopSec={service.stop_s:g}",
            f"TimeoutStartSec={service.wait_s:g}",
            "LimitNOFILE=65536",
            *_limit(service.limits),
            # The task that took too much is killed; by default all of the service is stopped with it.
            *(["OOMPolicy=continue"] if service.drains else []),
        ]
    return "\n".join([*lines, "", "[Install]", "WantedBy=multi-user.target", ""])


def confine(service: Service) -> list[str]:
    """Lines of systemd's sandbox: `SANDBOX`, changed by the service's own `sandbox`, and the folders it writes to."""
    wanted = {**SANDBOX, **service.sandbox}
    lines = [f"{key}={value}" for key, value in wanted.items()]
    # The `-` lets a service start although a folder is missing, such as a socket's before its package is configured.
    writes = " ".join(f"-{_escape(str(path))}" for path in service.writes)
    return [*lines, f"ReadWritePaths={writes}"] if writes and wanted["ProtectSystem"] == "strict" else lines


def fingerprint_path(service: Service) -> str:
    return str(ETC / "units" / service.unit)


def fingerprint(service: Service) -> HostFile:
    """What the service is started from: its unit in the first line, the files it reads in the second."""
    unit = hashlib.sha256(render(service).encode()).hexdigest()
    files = hashlib.sha256("".join(f"{file.path} {file.digest}\n" for file in service.files).encode()).hexdigest()
    return HostFile(ETC / "units" / service.unit, f"{unit}\n{files}\n")


def check(service: Service) -> str:
    """A shell command that succeeds while the service is healthy."""
    active = f"systemctl is-active -q {service.unit}"
    match service.health:
        case TcpCheck(port, address):
            return f"{active} && timeout 3 bash -c {shlex.quote(f'exec 3<>/dev/tcp/{address}/{port}')} 2>/dev/null"
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
        case None:
            return active
        case _ as never:
            assert_never(never)


def _probe(service: Service, *words: str) -> str:
    """A command that asks the metadata database whether this very process is at work."""
    config = shlex.quote(f"AIRFLOW_CONFIG={service.env['AIRFLOW_CONFIG']}")
    probe = f"{service.command[0]} -m {PROBE} $(systemctl show -P MainPID {service.unit}) {shlex.join(words)}"
    return f"runuser -u {service.user} -- env {config} timeout {PROBE_S} {probe} 2>/dev/null"


def port_of(service: Service) -> int | None:
    """The port that its health is asked at, which must be free before it first starts."""
    match service.health:
        case TcpCheck(port):
            return port
        case HttpCheck(url):
            return urlsplit(url).port
        case HeartbeatCheck() | CandidateCheck() | None:
            return None
        case _ as never:
            assert_never(never)


def _limit(limits: Limits) -> list[str]:
    lines = [f"IOWeight={limits.io_weight}"] if limits.io_weight != Limits().io_weight else []
    if limits.memory is not None:
        # Throttled before it is killed; swapping would only make it slow.
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

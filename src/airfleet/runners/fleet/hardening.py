"""The checks of `airfleet doctor --hardening` of a fleet's hosts: one finding and one fix each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airfleet.components.host_model import ERLANG, METRICS_TLS
from airfleet.components.hosts import metrics
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.survey import administrator_tunnel
from airfleet.runners.fleet.transport import sections
from airfleet.runners.fleet.transport.shell import HostShell
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host
from airfleet.workspace import hardening
from airfleet.workspace.diagnosis import Diagnosis
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract import wording

MOST_AT_ONCE = 32
# systemd gives 0 to a unit that can do nothing; each of airfleet's is at 2.0 or less when it is installed.
MOST_EXPOSED = 2.0
EVERY_ADDRESS = ("0.0.0.0:", "*:", "[::]:")
# The least value of each setting that is safe, or the one that is, and why it matters.
SYSCTL = {
    "fs.protected_hardlinks": ("1", "a user may link to a file of another and wait for root to use it"),
    "fs.protected_symlinks": ("1", "a user may leave a link in /tmp that root follows"),
    "fs.suid_dumpable": ("0", "a core dump of a privileged program, with its secrets, may be read"),
    "kernel.yama.ptrace_scope": ("1", "a task may read the memory of other processes of its user"),
    "net.ipv4.tcp_syncookies": ("1", "a flood of half-open connections stops a server"),
}
SAFER = {"fs.suid_dumpable": ("0",), "kernel.yama.ptrace_scope": ("1", "2", "3")}
# Ports that other hosts reach only with TLS: those of exporters, and of RabbitMQ's nodes.
WITH_TLS = "|".join(map(str, (*(one.port for one in metrics.EXPORTERS), METRICS_TLS, ERLANG)))


def examine(
    fleet: Fleet,
    project: Path,
    folder: StateFolder,
    *,
    now: float,
    shell: Callable[[Host, Path], HostShell] = HostShell,
) -> list[Diagnosis]:
    """Make all checks: of this machine first, then host by host. Nothing is changed."""
    found = [*hardening.examine(fleet, project, folder, now=now), _judge_tls(fleet), _judge_entrances(fleet)]

    def look(host: Host) -> list[Diagnosis]:
        one = shell(host, project)
        try:
            said = sections.split(
                one.run(sections.render(__package__, "look_at_hardening", PORTS=WITH_TLS), timeout_s=120).out
            )
            return [*judge_host(host, said), *administrator_tunnel.examine(fleet, host, one.run)]
        except AirfleetError as error:
            return [Diagnosis("error", host.name, error.what, error.hint)]
        finally:
            one.close()

    with ThreadPoolExecutor(min(MOST_AT_ONCE, len(fleet.hosts))) as pool:
        return [*found, *(finding for findings in pool.map(look, fleet.hosts) for finding in findings)]


def judge_host(host: Host, said: Mapping[str, list[str]]) -> Iterator[Diagnosis]:
    """Return what the answers of a host mean."""
    for name, judge in (
        ("modes", _judge_modes),
        ("listeners", _judge_listeners),
        ("clear", _judge_clear),
        ("units", _judge_units),
        ("sudo", _judge_sudo),
        ("sshd", _judge_sshd),
        ("passwords", _judge_passwords),
        ("sysctl", _judge_sysctl),
    ):
        subject = f"{host.name}: {name}"
        if name not in said:
            yield Diagnosis("warning", subject, "the host did not say", "airfleet doctor")
            continue
        findings = list(judge(host, subject, said[name]))
        yield from findings or [Diagnosis("ok", subject, "nothing found")]


def _judge_modes(_: Host, subject: str, lines: list[str]) -> Iterator[Diagnosis]:
    for line in lines:
        kind, mode, path = [*line.split(" ", 2), "", ""][:3]
        if kind == "readable":
            yield Diagnosis("error", subject, f"every user may read {path} ({mode})", f"chmod o= '{path}'")
        elif kind == "writable":
            yield Diagnosis("error", subject, f"every user may change {path} ({mode})", f"chmod o-w '{path}'")


def _judge_listeners(_: Host, subject: str, lines: list[str]) -> Iterator[Diagnosis]:
    seen = set()
    for line in lines:
        address, _sep, users = line.partition(" ")
        program = users.partition('(("')[2].partition('"')[0] or "a program"
        port = address.rpartition(":")[2]
        if address.startswith(EVERY_ADDRESS) and program != "sshd" and (program, port) not in seen:
            seen.add((program, port))
            hint = f"let it listen on the address of the host alone, or close port {port} in the firewall"
            yield Diagnosis("warning", subject, f"{program} listens on every address at port {port}", hint)


def _judge_clear(_: Host, subject: str, lines: list[str]) -> Iterator[Diagnosis]:
    for line in lines:
        what = f"other hosts reach {line}, which answers without encryption"
        yield Diagnosis(
            "warning", subject, what, "airfleet apply; `airfleet plan` says what is left of an introduction"
        )


def _judge_units(_: Host, subject: str, lines: list[str]) -> Iterator[Diagnosis]:
    for line in lines:
        unit, score = [*line.split(), ""][:2]
        try:
            exposure = float(score)
        except ValueError:
            continue
        if exposure > MOST_EXPOSED:
            hint = f"airfleet apply writes its limits again; systemd-analyze security {unit} says what is open"
            yield Diagnosis("warning", subject, f"{unit} is exposed by {exposure:g}, and not {MOST_EXPOSED:g}", hint)


def _judge_sudo(host: Host, subject: str, lines: list[str]) -> Iterator[Diagnosis]:
    for line in lines:
        who = line.split()[0]
        # airfleet itself becomes root without a password, as the user of fleet.yaml.
        if who != host.ssh.user:
            hint = "remove the line with visudo, or name the commands that are needed"
            yield Diagnosis("warning", subject, f"{who} becomes root without a password", hint)


def _judge_sshd(_: Host, subject: str, lines: list[str]) -> Iterator[Diagnosis]:
    found = dict(line.split(" ", 1) for line in lines if " " in line)
    fix = "in /etc/ssh/sshd_config, then systemctl reload ssh"
    if found.get("passwordauthentication") == "yes":
        yield Diagnosis("warning", subject, "SSH takes passwords", f"PasswordAuthentication no {fix}")
    if found.get("permitrootlogin") == "yes":
        what = "root may log in by SSH with a password"
        yield Diagnosis("warning", subject, what, f"PermitRootLogin prohibit-password {fix}")
    if found.get("permitemptypasswords") == "yes":
        yield Diagnosis("error", subject, "SSH takes empty passwords", f"PermitEmptyPasswords no {fix}")


def _judge_passwords(_: Host, subject: str, lines: list[str]) -> Iterator[Diagnosis]:
    for line in lines:
        name = line.removeprefix("empty ")
        yield Diagnosis("error", subject, f"the user {name} has an empty password", f"passwd --lock {name}")


def _judge_sysctl(_: Host, subject: str, lines: list[str]) -> Iterator[Diagnosis]:
    for line in lines:
        name, _sep, value = line.partition(" ")
        wanted, why = SYSCTL.get(name, ("", ""))
        if wanted and value.strip() not in SAFER.get(name, (wanted,)):
            hint = f"echo '{name} = {wanted}' > /etc/sysctl.d/60-{name.rpartition('.')[2]}.conf; sysctl --system"
            yield Diagnosis("warning", subject, f"{name} is {value.strip()}: {why}", hint)


def _judge_entrances(fleet: Fleet) -> Diagnosis:
    if fleet.allow_from is not None:
        named = len(fleet.allow_from)
        return Diagnosis("ok", "entrances", f"SSH and the UI answer {wording.count(named, 'network')} of fleet.yaml")
    if not fleet.firewall:
        return Diagnosis("warning", "entrances", "airfleet's firewall is off", "remove `firewall: false`")
    hint = "name under `allow_from` in fleet.yaml who may, and give administrators a way in with `vpn`"
    return Diagnosis("warning", "entrances", "SSH and the UI answer every address that reaches a host", hint)


def _judge_tls(fleet: Fleet) -> Diagnosis:
    if fleet.tls:
        return Diagnosis("ok", "TLS", "browsers reach the UI by HTTPS")
    hint = "name a certificate under `tls` in fleet.yaml"
    return Diagnosis("error", "TLS", "passwords and tokens go to the UI without encryption", hint)

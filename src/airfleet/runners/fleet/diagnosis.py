"""The checks of `airfleet doctor` for a fleet: the control machine, and the present state of each host."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.runners.fleet import lease
from airfleet.runners.fleet.plan.diff import CLOCK_HINT, WRONG_CLOCK_S
from airfleet.runners.fleet.survey import administrator_tunnel
from airfleet.runners.fleet.transport import client_config, known_hosts, sections
from airfleet.runners.fleet.transport.connection import Output
from airfleet.runners.fleet.transport.shell import HostShell
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host
from airfleet.workspace import airflow_version, certificate_authority
from airfleet.workspace.diagnosis import LEAST_FREE_BYTES, Diagnosis
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract import wording

LEAST_FREE_SHARE = 0.1
# How much longer than their runs logs should be kept: an archive may be late, or have no time for all runs at once.
LONGER_DAYS = 10
CLOCK = "date +%s.%N"
MOST_AT_ONCE = 32
# `status` uses this hint too.
SET_UP_HINT = "`airfleet apply` sets it up"
RENEW_HINT = "`airfleet apply` renews it, and restarts nothing"


@dataclass(frozen=True, slots=True)
class Clock:
    """The seconds that a host's clock is ahead of this machine's, and the possible error in seconds."""

    ahead_s: float
    give_or_take_s: float


def examine(
    fleet: Fleet,
    project: Path,
    folder: StateFolder,
    *,
    shell: Callable[[Host, Path], HostShell] = HostShell,
    clock: Callable[[], float] = time.time,
) -> list[Diagnosis]:
    """Make all checks: of this machine first, then host by host. Nothing is changed."""
    found = [*_examine_control(fleet, project, folder)]

    def look(host: Host) -> list[Diagnosis]:
        one = shell(host, project)
        try:
            found = _examine_host(host, one.run, clock, _running(folder))
            return [*found, *administrator_tunnel.examine(fleet, host, one.run)]
        except AirfleetError as error:
            return [Diagnosis("error", host.name, error.what, error.hint)]
        finally:
            one.close()

    with ThreadPoolExecutor(min(MOST_AT_ONCE, len(fleet.hosts))) as pool:
        return [*found, *(finding for findings in pool.map(look, fleet.hosts) for finding in findings)]


def _running(folder: StateFolder) -> str:
    try:
        return airflow_version.read(folder).version
    except AirfleetError:
        return ""


def _examine_control(fleet: Fleet, project: Path, folder: StateFolder) -> Iterator[Diagnosis]:
    yield _judge_locks(folder)
    yield from _judge_keys(fleet, project)
    yield from _judge_way(fleet, project)
    yield _judge_secrets(folder)
    yield _judge_claim(folder)
    yield from judge_log_retention(fleet)
    free_root = next(parent for parent in (folder.root, *folder.root.parents) if parent.exists())
    free = shutil.disk_usage(free_root).free
    level = "ok" if free >= LEAST_FREE_BYTES else "warning"
    hint = "" if level == "ok" else "free some space: `airfleet apply` builds Airflow on this machine"
    yield Diagnosis("ok" if level == "ok" else "warning", "disk", f"{free / 2**30:.1f} GiB free on {free_root}", hint)


def judge_log_retention(fleet: Fleet) -> Iterator[Diagnosis]:
    """Yield a warning if logs are removed before their runs are archived, so that the archive gets none of them."""
    kept, archive = fleet.retention.logs, fleet.archive
    if archive.store is None or kept > archive.retention:
        return
    days = wording.count(archive.retention, "day")
    what = f"runs are archived after {days}, but their logs are removed after {kept}: the archive gets no logs"
    longer = f"retention: {{logs: {archive.retention + LONGER_DAYS}}}"
    yield Diagnosis("warning", "archive", what, f"write `{longer}` in fleet.yaml, or a shorter `archive.retention`")


def _judge_locks(folder: StateFolder) -> Diagnosis:
    try:
        running = airflow_version.read(folder)
        airflow_version.find_lock(running.version)
    except AirfleetError as error:
        return Diagnosis("error", "Airflow", error.what, error.hint)
    if running.target:
        what = f"moving from {running.version} to {running.target}"
        return Diagnosis("warning", "Airflow", what, airflow_version.GO_ON)
    return Diagnosis("ok", "Airflow", f"{running.version}; its lock is on this machine")


def _judge_keys(fleet: Fleet, project: Path) -> Iterator[Diagnosis]:
    keys = dict.fromkeys(host.ssh.key for host in fleet.hosts if host.ssh.key)
    for name in keys:
        path = project / Path(name).expanduser()
        if not path.is_file():
            yield Diagnosis("error", "SSH key", f"no such file: {path}", "`ssh.key` in fleet.yaml names it")
        elif path.stat().st_mode & 0o077:
            yield Diagnosis("error", "SSH key", f"other users may read {path}", f"chmod 600 {path}")
        else:
            yield Diagnosis("ok", "SSH key", str(path))
    if not keys:
        yield Diagnosis("ok", "SSH key", "fleet.yaml names none: keys come from ssh-agent and the SSH configuration")


def _judge_way(fleet: Fleet, project: Path) -> Iterator[Diagnosis]:
    """Check that OpenSSH can read its configuration for each host, and that the files of known hosts can be read."""
    files: dict[Path, bool] = {}
    for host in fleet.hosts:
        try:
            config = client_config.read(host.address, user=host.ssh.user, port=host.ssh.port)
        except AirfleetError as error:
            yield Diagnosis("error", "SSH configuration", f"{host.name}: {error.what}", error.hint)
            return
        named = (project / Path(host.ssh.known_hosts).expanduser(),) if host.ssh.known_hosts else ()
        files |= {path: bool(named) for path in named or config.known_hosts}
    yield Diagnosis("ok", "SSH configuration", f"leads to all {len(fleet.hosts)} hosts")
    for path, is_named in files.items():
        try:
            entries = known_hosts.read([path], named=is_named)
        except AirfleetError as error:
            yield Diagnosis("error", "known_hosts", f"{error.where}: {error.what}", error.hint)
        else:
            if entries or is_named:
                yield Diagnosis("ok", "known_hosts", f"{len(entries)} keys in {path}")


def _judge_secrets(folder: StateFolder) -> Diagnosis:
    files = sorted(folder.secrets.glob("*")) if folder.secrets.is_dir() else []
    open_ = [path for path in files if path.stat().st_mode & 0o077]
    if open_:
        return Diagnosis("error", "secrets", f"other users may read {open_[0]}", f"chmod -R go= {folder.secrets}")
    if not files:
        return Diagnosis("ok", "secrets", "the first apply will make them")
    return Diagnosis("ok", "secrets", f"{len(files)} in {folder.secrets}; keep a copy on another machine")


def _judge_certificates(host: Host, ends: list[str], now: float) -> Iterator[Diagnosis]:
    """Look at the host's certificate that ends first, as the host has it: `plan` alone renews none there."""
    times = [int(end) for end in ends if end.isdigit()]
    if not times:
        return
    subject = f"{host.name}: certificate"
    days = math.floor((min(times) - now) / 86400)
    if days < 0:
        yield Diagnosis("error", subject, f"ended {wording.count(-days, 'day')} ago", RENEW_HINT)
    elif days < certificate_authority.TOLD_BELOW.days:
        yield Diagnosis("warning", subject, f"ends in {wording.count(days, 'day')}", RENEW_HINT)
    else:
        yield Diagnosis("ok", subject, f"ends in {wording.count(days, 'day')}")


def _judge_claim(folder: StateFolder) -> Diagnosis:
    holder = lease.find_claim(folder.root)
    if holder is not None:
        return Diagnosis("warning", "apply", holder, "wait for it to end")
    return Diagnosis("ok", "apply", "none runs on this machine")


def _examine_host(
    host: Host, run: Callable[..., Output], clock: Callable[[], float], airflow: str
) -> Iterator[Diagnosis]:
    said = sections.split(run(sections.render(__package__, "look_at_host", LEASE=lease.PATH), timeout_s=60).out)
    system, there = _first(said, "system"), _first(said, "airflow")
    yield Diagnosis("ok", host.name, f"answers; {system or 'an unknown system'}")
    if not there:
        yield Diagnosis("warning", f"{host.name}: Airflow", "not set up yet", SET_UP_HINT)
    elif airflow and there != airflow:
        yield Diagnosis("warning", f"{host.name}: Airflow", f"{there}, not {airflow}", "`airfleet apply` installs it")
    else:
        yield Diagnosis("ok", f"{host.name}: Airflow", there)
    yield from _judge_space(host, said.get("space", []))
    yield _judge_clock(host, measure_clock(run, clock), _first(said, "sync"))
    failed = said.get("failed", [])
    if failed:
        names = [unit.removeprefix("airfleet-").removesuffix(".service") for unit in failed]
        hint = f"its log shows why: airfleet logs {names[0]} --host {host.name}"
        yield Diagnosis("error", f"{host.name}: services", f"not running, but failed: {', '.join(names)}", hint)
    yield from _judge_certificates(host, said.get("certificates", []), clock())
    yield from _judge_lease(host, said.get("lease", []))


def measure_clock(run: Callable[..., Output], clock: Callable[[], float]) -> Clock | None:
    """Compare the host's clock with this machine's, or return None if the host reports no time.

    The host reads its clock at an unknown moment of the round trip, so the error is half of the shortest round trip.
    """
    best: Clock | None = None
    for _ in range(3):
        asked = clock()
        output = run(CLOCK, timeout_s=20)
        answered = clock()
        try:
            there = float(output.out)
        except ValueError:
            return None
        one = Clock(there - (asked + answered) / 2, (answered - asked) / 2)
        best = one if best is None or one.give_or_take_s < best.give_or_take_s else best
    return best


def _judge_clock(host: Host, measured: Clock | None, synchronised: str) -> Diagnosis:
    subject, ntp = f"{host.name}: clock", "timedatectl set-ntp true"
    if measured is None:
        return Diagnosis("warning", subject, "the host reports no time", ntp)
    ahead, doubt = measured.ahead_s, measured.give_or_take_s
    what = f"{abs(ahead):.2f} s {'ahead of' if ahead > 0 else 'behind'} this machine's, give or take {doubt:.2f} s"
    if abs(ahead) - doubt > WRONG_CLOCK_S:
        return Diagnosis("error", subject, what, CLOCK_HINT)
    if synchronised != "yes":
        return Diagnosis("warning", subject, f"{what}; not synchronised", f"on the host: {ntp}, or install chrony")
    return Diagnosis("ok", subject, f"{what}; synchronised by NTP")


def _judge_space(host: Host, lines: list[str]) -> Iterator[Diagnosis]:
    for line in lines:
        path, total, free = [*line.rsplit(" ", 2), "", ""][:3]
        if not (total.isdigit() and free.isdigit()) or int(total) == 0:
            continue
        left = int(free) * 1024
        what = f"{left / 2**30:.1f} GiB free on {path}, {100 * int(free) / int(total):.0f} %"
        if left < LEAST_FREE_BYTES:
            yield Diagnosis("error", f"{host.name}: disk", what, f"free some space on {path}")
        elif int(free) < LEAST_FREE_SHARE * int(total):
            yield Diagnosis("warning", f"{host.name}: disk", what, f"free some space on {path}")
        else:
            yield Diagnosis("ok", f"{host.name}: disk", what)


def _judge_lease(host: Host, lines: list[str]) -> Iterator[Diagnosis]:
    if len(lines) < 5 or not (lines[1].isdigit() and lines[4].isdigit()):
        return
    left = int(lines[1]) - int(lines[4])
    if left > 0:
        holder = lease.parse_holder("\n".join((lines[3], lines[2], str(left))))
        what = f"{holder.who} applies this fleet since {holder.since}"
        yield Diagnosis(
            "warning", f"{host.name}: apply", what, f"wait for it to end; if it died, its lease runs out in {left} s"
        )


def _first(said: Mapping[str, list[str]], name: str) -> str:
    return next(iter(said.get(name, [])), "").strip()

"""Lose the primary again and again, in random order and under load: figures of bench/results/drills.json.

make drill-database                                   20 trials, about 30 minutes
make drill-database ARGS="--trials 100"               continue until there are 100
make drill-database ARGS="--minutes 10"               begin no trial after ten minutes; the next call continues
make drill-database ARGS="--keep --bed trials"        keep the machines; the next call uses them again
make drill-database ARGS="--only 'freeze,cut off'"    only these, once each, in this order
make drill-database ARGS="--no-tasks"                 without tasks, on a machine too busy for them: no gaps of starts
make drill-database ARGS="--fresh"                    forget the trials of earlier calls

Five machines start on this one: three database hosts with synchronous replication, a worker, and a host with the rest.
A trial does one thing to the primary: its power is cut, it is frozen while its etcd leads the others, it is cut off
from all other hosts, PostgreSQL or Patroni is killed, PostgreSQL's processes hang, or `airfleet failover --database`
switches over. Nobody does anything else. Each trial is recorded as soon as it ends, so a call that was interrupted is
continued by the next.

On each database host a writer inserts row after row, and prints a row's number once its commit was confirmed. So a host
that takes writes for itself is found, although no client would look for it there. `lost`: rows that were confirmed, and
that the primary does not have after the trial. `two_primaries`: trials in which a host confirmed a write that began
after another host had confirmed one. `failover_gap_s` and `switchover_gap_s`: the longest time without a task start in
any trial without power, and in any switch-over; the load starts 1.3 tasks a second. They are null until such a trial
has run with tasks: `start_gap_s` of a trial is null where `has_tasks` is false, as with --no-tasks, and nowhere else.
`trials`: all but the switch-overs. `failed`: trials after which the hosts did not become healthy in time; each has its
`error`, and the call ends there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import drill_fleet
import drills
from airfleet.components.host_model import AUTHORITIES, ETCD
from airfleet.components.postgresql.patroni import DATA
from airfleet.drills.fleet import LEDGER, prepare
from airfleet.drills.injector import read_attempts
from airfleet.drills.load import Load
from airfleet.runners.fleet.transport import database_cluster
from airfleet.runners.fleet.transport.connection import Output
from airfleet.runners.fleet.transport.database_cluster import DatabaseCluster
from airfleet.workspace.project import read_fleet
from bed_injector import MachineShell
from deadline import wait_until
from machines import Bed, MachineError, why_not
from trial_writer import Writer, find_lost, make_table, wrote_at_once

ROLES = {
    "app1": "roles: [web, balancer, broker, scheduler]",
    "db1": "roles: [database]",
    "db2": "roles: [database]",
    "db3": "roles: [database]",
    "w1": "roles: [worker], pools: [default]",
}
DATABASES = [name for name, roles in ROLES.items() if "database" in roles]
SWITCH = "switch over"
FAULTS = ("cut the power", "freeze", "cut off", "kill PostgreSQL", "kill Patroni", "hang PostgreSQL", SWITCH)
# Long enough for the loss to be noticed and the replica to be promoted, so that a host comes back to another primary.
LASTS_S = 45.0
BEFORE_S, AFTER_S = 5.0, 12.0
HEALTHY_S = 240.0
SEED = "airfleet"


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial. Gaps are in seconds; `healed_s` is from the fault until every host follows the primary again.

    With an `error` the hosts did not become healthy, so that nobody could count what was lost: `lost` is None.
    """

    number: int
    fault: str
    before: str
    after: str
    start_gap_s: float | None
    write_gap_s: float
    healed_s: float | None
    confirmed: int
    lost: int | None
    is_doubled: bool
    when: str
    machine_load: float
    has_tasks: bool = False
    error: str = ""


def main() -> None:
    """Make the fleet, and run trials until there are enough or the time is over."""
    arguments = read_arguments()
    if reason := why_not():
        sys.exit(f"drill-database: no machines can run here: {reason}")
    if arguments.fresh:
        record([])
    began = time.monotonic()
    bed, project = drills.open_bed(arguments.bed, keep=arguments.keep, roles=ROLES, kind="trials")
    try:
        # Machines that were kept may be as an interrupted trial left them: frozen, cut off, or without power.
        drills.mend(bed)
        if not arguments.applied:
            drill_fleet.write_project(project, bed, is_stock=False, roles=ROLES)
            drills.say("apply")
            subprocess.run([drills.AIRFLEET, "apply", str(project)], check=True, stdout=subprocess.DEVNULL)
        drills.mend(bed)
        until = began + arguments.minutes * 60 if arguments.minutes else float("inf")
        with ExitStack() as stack:
            Trials(bed, project, arguments.only).run(arguments.trials, until, None if arguments.no_tasks else stack)
    finally:
        if not arguments.keep:
            bed.destroy()
            shutil.rmtree(project)
    print(json.dumps(summarise(read_trials()), indent=2))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, help="trials in the results at the end, without switch-overs")
    parser.add_argument("--minutes", type=float, help="begin no trial after so many minutes of this call")
    parser.add_argument("--only", type=read_faults, default=[], help="do only these, separated by commas, once each")
    parser.add_argument("--no-tasks", action="store_true", help="measure no gaps between task starts")
    parser.add_argument("--fresh", action="store_true", help="forget the trials of earlier calls")
    parser.add_argument("--bed", default="", help="the bed's name; one that is there already is used again")
    parser.add_argument("--keep", action="store_true", help="leave machines and project")
    parser.add_argument("--applied", action="store_true", help="the kept machines are as this tree would make them")
    return parser.parse_args()


def read_faults(text: str) -> list[str]:
    """Return the faults that a user lists."""
    chosen = [one.strip() for one in text.split(",")]
    if unknown := [one for one in chosen if one not in FAULTS]:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    return chosen


def choose_fault(number: int) -> str:
    """Return the fault of a trial. Every seven trials have each fault once, in an order of their own."""
    block = list(FAULTS)
    random.Random(f"{SEED}-{number // len(FAULTS)}").shuffle(block)  # noqa: S311 - an order, not a secret
    return block[number % len(FAULTS)]


def read_trials() -> list[Trial]:
    """Return the trials of this and earlier calls."""
    known = drills.read().get("database_trials", [])
    # Earlier versions did not record whether tasks ran.
    return [Trial(**{"has_tasks": one["start_gap_s"] is not None, **one}) for one in known]


def record(trials: Sequence[Trial]) -> None:
    """Write the trials and what they show to the results, which keep everything else."""
    own = {"database_trials": [asdict(one) for one in trials], "database_fleet": ROLES, **summarise(trials)}
    drills.write(drills.read() | own)


def summarise(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the figures of the bars. A gap is None where no trial measured it."""
    losses = [one for one in trials if one.fault != SWITCH]
    return {
        "failover_gap_s": find_longest(trials, FAULTS[0]),
        "switchover_gap_s": find_longest(trials, SWITCH),
        "trials": len(losses),
        "switchovers": len(trials) - len(losses),
        "confirmed": sum(one.confirmed for one in trials),
        "lost": sum(one.lost or 0 for one in trials),
        "two_primaries": sum(one.is_doubled for one in trials),
        "failed": sum(bool(one.error) for one in trials),
        "trials_with_tasks": sum(one.has_tasks for one in losses),
    }


def find_longest(trials: Iterable[Trial], fault: str) -> float | None:
    """Return the longest time without a task start in the trials with a fault, or None if none measured it."""
    return max((one.start_gap_s for one in trials if one.fault == fault and one.start_gap_s is not None), default=None)


def find_gap(moments: Iterable[float], began: float, ended: float) -> float:
    """Return the longest time between two moments of a time span."""
    points = [began, *sorted(one for one in moments if began < one < ended), ended]
    return round(max(after - before for before, after in pairwise(points)), 2)


@dataclass(frozen=True)
class PatientShell(MachineShell):
    """A shell of a machine that may be off: then its scripts fail."""

    def run(self, script: str, *, timeout_s: float = 60) -> Output:
        try:
            return super().run(script, timeout_s=timeout_s)
        except MachineError as error:
            return Output(255, "", str(error))


def list_starts(lines: Iterable[str]) -> list[float]:
    """Return when tasks started, from the lines of their attempt logs. All machines have one clock."""
    said = (json.loads(one) for one in lines if one.strip())
    return [float(one["wall"]) for one in said if one["what"] == "start"]


def read_leader(cluster: DatabaseCluster | None) -> str:
    """Return the primary of a cluster in which every host runs and follows it, and commits wait for one; else ''."""
    if cluster is None or cluster.leader is None or len(cluster.members) < len(DATABASES):
        return ""
    is_well = all(one.is_running and (one.is_leader or one.lag is not None) for one in cluster.members)
    return cluster.leader.name if is_well and any(one.is_standby for one in cluster.members) else ""


class Trials:
    """Trials on one fleet, under one load."""

    def __init__(self, bed: Bed, project: Path, only: Sequence[str]) -> None:
        self._bed, self._project, self._only = bed, project, only
        self._fleet = read_fleet(project)
        self._hosts = {host.name: bed[host.name] for host in self._fleet.with_role("database")}
        self._read_starts: Callable[[], list[float]] | None = None

    def run(self, wanted: int, until: float, stack: ExitStack | None) -> None:
        """Run trials until the results have `wanted` of them, or until this moment of the monotonic clock.

        Tasks run meanwhile, and are withdrawn with the stack; without one there are no tasks.
        """
        trials = read_trials()
        left = list(self._only)
        make_table(self._hosts[self._await_health()])
        if stack is not None:
            self._begin_load(len(left) or wanted - len(trials), stack)
        while (left if self._only else summarise(trials)["trials"] < wanted) and time.monotonic() < until:
            fault = left.pop(0) if self._only else choose_fault(len(trials))
            trials.append(self._try(len(trials), fault))
            record(trials)
            drills.say(json.dumps(asdict(trials[-1])))
            if trials[-1].error:
                sys.exit(f"drill-database: trial {trials[-1].number} failed: {trials[-1].error}")

    def _begin_load(self, trials: int, stack: ExitStack) -> None:
        runner = prepare(stack, self._fleet, self._project, None, "drills", drills.say)
        began, seconds = datetime.fromtimestamp(time.time() + 15, UTC), int(trials * (LASTS_S + HEALTHY_S))
        load = Load(began, seconds, LEDGER, long_s=5.0, queues=self._fleet.queues)
        runner.platform.deploy(load)
        stack.callback(runner.platform.withdraw, load)
        self._read_starts = lambda: list_starts(read_attempts(runner.shells, load.folder))
        time.sleep(max(0.0, began.timestamp() + BEFORE_S - time.time()))

    def _try(self, number: int, fault: str) -> Trial:
        before = self._await_health()
        drills.say(f"{number}: {fault}: {before}")
        after, error, healed_s = "", "", None
        with Writer.everywhere(self._hosts.values(), number) as writer:
            time.sleep(BEFORE_S)
            struck = time.time()
            try:
                self._inject(fault, before, writer, struck)
                after = self._await_health()
                healed_s = round(time.time() - struck, 1)
                time.sleep(AFTER_S)
            except (AssertionError, MachineError) as caught:
                # What does not heal is the worst result of all, and belongs into the results.
                error = str(caught)
            ended = time.time()
        lines = writer.read()
        return Trial(
            number=number,
            fault=fault,
            before=before,
            after=after,
            start_gap_s=find_gap(self._read_starts(), struck - BEFORE_S, ended) if self._read_starts else None,
            write_gap_s=find_gap((one.ended for one in lines), struck - BEFORE_S, ended),
            healed_s=healed_s,
            confirmed=len(lines),
            lost=len(find_lost(lines, self._hosts[after])) if after else None,
            is_doubled=wrote_at_once(lines),
            when=time.strftime("%Y-%m-%d %H:%M"),
            machine_load=round(os.getloadavg()[1], 1),
            has_tasks=self._read_starts is not None,
            error=error,
        )

    def _inject(self, fault: str, host: str, writer: Writer, struck: float) -> None:
        """Do one thing to the primary, and undo it when another host has long been the primary."""
        machine = self._hosts[host]
        match fault:
            case "cut the power":
                machine.pull_plug()
                self._await_writes(writer, struck, other_than=host)
                machine.power_on()
                machine.wait_ready()
                writer.add(machine)
            case "freeze":
                self._lead_etcd(host)
                machine.freeze()
                time.sleep(LASTS_S)
                machine.thaw()
            case "cut off":
                self._bed.partition([host], [one for one in self._bed.layout.names if one != host])
                time.sleep(LASTS_S)
                self._bed.heal()
            case "kill PostgreSQL":
                machine.console(f"kill -KILL $(head -n 1 {DATA}/postmaster.pid)")
            case "hang PostgreSQL":
                # As with a disk that does not answer: the host, Patroni and PgBouncer work, and the server does not.
                processes = f"$(head -n 1 {DATA}/postmaster.pid) $(pgrep -P $(head -n 1 {DATA}/postmaster.pid))"
                machine.console(f"kill -STOP {processes}")
                time.sleep(LASTS_S)
                machine.console(f"kill -CONT {processes}", check=False)
            case "kill Patroni":
                machine.console("systemctl kill --signal=KILL --kill-whom=main airfleet-postgresql.service")
            case _:
                # It fails where no scheduler works in time. The gap says so too.
                command = [str(drills.AIRFLEET), "failover", "--database", str(self._project)]
                subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        self._await_writes(writer, struck)

    def _lead_etcd(self, host: str) -> None:
        """Let etcd of a host lead the others: a leader that was frozen believes on that no claim was renewed."""
        urls = {name: f"https://{one.address}:{ETCD}" for name, one in self._hosts.items()}
        values = {"ENDPOINTS": ",".join(urls.values()), "OWN": urls[host], "AUTHORITIES": str(AUTHORITIES)}
        script = (Path(__file__).parent / "lead_etcd.sh").read_text()
        login = (self._project / ".airfleet" / "secrets" / "etcd_root").read_text().strip()
        command = shlex.join(
            ["sudo", "env", *(f"{name}={value}" for name, value in values.items()), "sh", "-c", script]
        )
        self._hosts[host].run(command, text=f"root:{login}\n")

    def _await_writes(self, writer: Writer, since: float, other_than: str = "") -> None:
        wait_until(
            lambda: any(one.began > since and one.host != other_than for one in writer.read()),
            "a database host that takes writes",
            timeout_s=HEALTHY_S,
            every_s=0.5,
        )

    def _await_health(self) -> str:
        """Return the primary, once all hosts follow it and one of them is its standby."""
        found = wait_until(self._find_primary, "a primary, its standby, its replica", timeout_s=HEALTHY_S, every_s=1)
        return str(found)

    def _find_primary(self) -> str:
        """Return the primary if every host names the same one and is well. A host that was frozen remembers another."""
        leaders = {read_leader(database_cluster.ask(PatientShell(machine))) for machine in self._hosts.values()}
        return leaders.pop() if len(leaders) == 1 else ""


if __name__ == "__main__":
    main()

"""The supervisor of a platform on this machine: a loop that observes, decides and acts (ADR 2)."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from airfleet.components.health import HeartbeatCheck, HttpCheck, ReadyCheck
from airfleet.components.image import NAME as IMAGE
from airfleet.components.model import Command, Process, reveal
from airfleet.components.postgresql.embedded import list_superuser_dsns
from airfleet.runners.local import leftovers, processes
from airfleet.runners.local.fork_server import Child, ForkServer
from airfleet.runners.local.launch import Launch
from airfleet.runners.local.supervision import CheckResult, Do, Phase, ProcessRules, Seen, SupervisedProcess, decide
from airfleet.runners.local.usage import read_start_s
from airfleet.runners.local.wake import Wake
from airfleet.spec.secrets import Secret
from airfleet.workspace.rotation import RotationLedger
from airfleet.workspace.state_folder import ProcessStatus, Snapshot, StateFolder, write_file
from airfleet_provider.contract import session_notes
from airfleet_provider.contract.environment import GATE

if TYPE_CHECKING:
    from airfleet.runners.local.checks import Checker

TICK_S = 0.1
STEADY_TICK_S = 1.0
CHECK_EVERY_S = 0.25
STEADY_CHECK_EVERY_S = 5.0
LARGEST_LOG_BYTES = 50 << 20
ROTATE_EVERY_S = 60.0
LEFTOVER_GRACE_S = 5.0
# The notes of the sessions that the supervisor itself began, beside those of components.
OWN = "supervisor"
# The number of crashes, before the platform was ever healthy, after which it gives up.
HOPELESS_FAILURES = 3

Notify = Callable[[Snapshot], None]


class Supervised:
    """One supervised process: its description, its supervision state, and the handles of the present process."""

    def __init__(self, process: Process, prepare: tuple[Command, ...]) -> None:
        self.process = process
        self.prepare = prepare
        self.rules = ProcessRules(
            once=process.once,
            skippable=bool(process.fingerprint),
            ahead=process.warm or process.gated,
            checked=process.health is not None,
            stop_timeout_s=process.stop_timeout_s,
        )
        self.unit = SupervisedProcess()
        self.entered = time.time()
        self.pid: int | None = None
        self.started = 0.0
        self.exit_code: int | None = None
        self.child: Child | None = None
        self.check: Future[CheckResult] | None = None
        self.checked_at = 0.0
        self.result: CheckResult | None = None
        self.is_cold = False
        # Whether a skippable job was done before this start, once the database was asked.
        self.was_done: bool | None = None

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def is_ready(self) -> bool:
        """Return whether the processes that come after this one may start."""
        return self.unit.phase in (Phase.HEALTHY, Phase.DONE)

    @property
    def is_over(self) -> bool:
        return self.unit.phase in (Phase.STOPPED, Phase.DONE)

    def status(self, forks: tuple[int, ...]) -> ProcessStatus:
        unit = self.unit
        return ProcessStatus(
            self.name, str(unit.phase), self.pid, self.entered, unit.restarts, unit.detail, self.process.url, forks
        )


class Supervisor:
    """Starts, checks, restarts and stops every process of one launch, in the thread that calls `run`."""

    def __init__(self, launch: Launch, folder: StateFolder) -> None:
        self._launch = launch
        self._folder = folder
        self._units = [
            Supervised(process, component.prepare) for component in launch.components for process in component.processes
        ]
        self._by_name = {unit.name: unit for unit in self._units}
        # What is prepared keeps this thread, so it comes after all that can start beside it.
        self._in_turn = sorted(self._units, key=lambda unit: bool(unit.prepare))
        self._fork_server: ForkServer | None = None
        self._stopping = False
        self._started = read_start_s(os.getpid()) or 0.0
        self._rotated = 0.0
        self._was_healthy = False
        self._written: Snapshot | None = None
        self.hopeless = ""

    def run(self, notify: Notify) -> None:
        """Run the platform until SIGTERM, SIGINT or SIGHUP, or until it cannot start. Then stop all processes.

        If a process could not be started, `hopeless` is its name afterwards.
        """
        processes.become_subreaper()
        self._prepare()
        with Wake(self.stop) as wake, ThreadPoolExecutor(len(self._units), thread_name_prefix="check") as pool:
            while not (self._stopping and all(unit.is_over for unit in self._units)):
                self._turn(pool)
                notify(self._write())
                warming = self._fork_server.channel if self._fork_server and not self._by_name[IMAGE].is_ready else None
                wake.wait(STEADY_TICK_S if self._is_steady() else TICK_S, or_readable=warming)
        self._sweep()
        notify(self._write(phase="stopped"))

    @cached_property
    def _checker(self) -> Checker:
        return _make_checker(self._launch.site.dsn("airflow", "airflow", self._launch.credentials.airflow))

    @cached_property
    def _server_checker(self) -> Checker:
        first, *others = map(Secret, list_superuser_dsns(self._launch.site, self._launch.credentials))
        return _make_checker(first, *others)

    def stop(self) -> None:
        """Begin to stop, and wait for running tasks. A second call ends the wait."""
        if self._stopping:
            for unit in self._units:
                unit.rules = replace(unit.rules, stop_timeout_s=0)
        self._stopping = True

    def _prepare(self) -> None:
        self._sweep()
        for component in self._launch.components:
            for file in component.files:
                file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_file(file.path, reveal(file.content), mode=file.mode)
        for unit in self._units:
            _remove_inputs(unit.process)  # a supervisor that was killed left them

    def _sweep(self) -> None:
        """End the processes that an earlier supervisor, or this one, left running."""
        found = leftovers.find(self._folder)
        servers = [process for process in found if process.name() == "postgres"]
        processes.end([process for process in found if process not in servers], grace_s=LEFTOVER_GRACE_S)
        processes.end(servers, grace_s=LEFTOVER_GRACE_S, first=signal.SIGINT)
        processes.end_server(self._launch.site.postgres_data)
        shutil.rmtree(self._folder.sessions, ignore_errors=True)
        for _ in processes.reap():
            pass

    def _turn(self, pool: ThreadPoolExecutor) -> None:
        exits = dict(processes.reap())
        for unit in self._in_turn:
            if unit.pid in exits:
                self._note_exit(unit, exits[unit.pid])
            self._collect_check(unit, pool)
            if self._advance(unit) is Do.START and unit.pid:  # its gate need not wait until all others were forked
                self._advance(unit)
        if not self._was_healthy and all(unit.is_ready for unit in self._units):
            self._was_healthy = True
            with suppress(OSError):  # if the disk is full, the next start forgets the former secrets
                RotationLedger(self._folder.secrets).settle(time.time())
        if not self._was_healthy and not self._stopping:
            for unit in self._units:
                if unit.unit.failures >= HOPELESS_FAILURES:
                    self.hopeless = unit.name
                    self._stopping = True
        self._warm_up(pool)
        self._rotate_logs()

    def _advance(self, unit: Supervised) -> Do:
        before = unit.unit
        unit.unit, action = decide(before, unit.rules, self._see(unit))
        if unit.unit.phase is not before.phase:
            unit.entered = time.time()
            unit.is_cold = unit.unit.phase is Phase.HEALTHY
        self._act(unit, action)
        return action

    def _warm_up(self, pool: ThreadPoolExecutor) -> None:
        # Only when all processes are up: before that, it would slow down the start of the others.
        for unit in self._units if self._is_steady() else ():
            health = unit.process.health
            if unit.is_cold and isinstance(health, HttpCheck) and health.warm_up:
                pool.submit(self._checker.warm_up, health.warm_up)
            unit.is_cold = False

    def _see(self, unit: Supervised) -> Seen:
        image = self._by_name[IMAGE]
        released = all(self._by_name[name].is_ready for name in unit.process.after)
        may_skip = unit.rules.skippable and released and unit.unit.phase is Phase.WAITING and not unit.unit.forked
        if may_skip and unit.was_done is None:
            unit.was_done = self._checker.was_done(unit.name, unit.process.fingerprint)
        return Seen(
            now=time.monotonic(),
            alive=unit.pid is not None,
            released=released,
            done_before=may_skip and bool(unit.was_done),
            forkable=image.is_ready or not unit.process.warm or self._is_early(unit.process),
            stopping=self._stopping and all(self._by_name[name].is_over for name in self._stops_before(unit.process)),
            exit_code=unit.exit_code,
            healthy=unit.result.healthy if unit.result else None,
            detail=unit.result.detail if unit.result else "",
            conclusive=unit.result.conclusive if unit.result else True,
        )

    def _is_early(self, process: Process) -> bool:
        return process.early and self._fork_server is not None and self._fork_server.is_early()

    def _stops_before(self, process: Process) -> set[str]:
        after = [unit.process for unit in self._units if process.name in unit.process.after]
        below = {name for other in after for name in self._stops_before(other)}
        return {other.name for other in after} | below | set(process.stops_after)

    def _act(self, unit: Supervised, action: Do) -> None:
        match action:
            case Do.NOTHING:
                pass
            case Do.START:
                self._start(unit)
            case Do.OPEN_GATE:
                self._open_gate(unit)
            case Do.STOP:
                self._signal(unit, signal.Signals[unit.process.stop_signal])
            case Do.KILL:
                self._signal(unit, signal.SIGKILL)

    def _start(self, unit: Supervised) -> None:
        process = unit.process
        env = {**self._launch.environment, "AIRFLEET_COMPONENT": process.name}
        log = self._folder.logs / f"{process.name}.log"
        unit.exit_code, unit.result, unit.child = None, None, None
        for command in unit.prepare:
            processes.fill(command, env=env, log=log)
        if process.warm and self._fork_server:
            try:
                unit.child = self._fork_server.fork(process, env=env, log=log)
                unit.pid = unit.child.pid
            except OSError:
                unit.unit = replace(unit.unit, forked=False)  # the image has died or hangs: wait for the next image
                return
        else:
            argv = tuple(reveal(word) for word in process.commands[0])
            own = {key: reveal(value) for key, value in process.env.items()}
            inherit: tuple[int, ...] = ()
            if isinstance(process.health, ReadyCheck):
                self._fork_server = ForkServer()
                inherit = (self._fork_server.descriptor,)
                argv = (*argv, str(self._fork_server.descriptor))
            gate = os.pipe() if process.gated else ()
            unit.pid = processes.start(
                argv,
                env={**env, **own, **({GATE: str(gate[0])} if gate else {})},
                log=log,
                unprivileged=process.unprivileged,
                death_signal=signal.Signals[process.stop_signal],
                inherit=(*inherit, *gate[:1]),
            )
            if gate:
                os.close(gate[0])
                unit.child = Child(unit.pid, gate[1])
            if self._fork_server and inherit:
                self._fork_server.hand_over()
        # If this supervisor dies, the next one finds the process by the note. A full disk must not end the platform.
        with suppress(OSError):
            session_notes.write(self._folder.sessions, OWN, unit.pid)
        self._write()

    def _open_gate(self, unit: Supervised) -> None:
        if isinstance(unit.process.health, HeartbeatCheck) and unit.process.health.alone:
            self._checker.retire_jobs(unit.process.health.job_type)
        unit.started = time.time()
        for file in unit.process.inputs:
            file.path.parent.mkdir(mode=0o700, exist_ok=True)
            write_file(file.path, reveal(file.content), mode=file.mode)
        if unit.child:
            unit.child.open_gate()

    def _signal(self, unit: Supervised, number: signal.Signals) -> None:
        if unit.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(unit.pid, number)

    def _note_exit(self, unit: Supervised, code: int) -> None:
        session = unit.pid
        if unit.child and not unit.unit.gate_open:
            unit.child.close()
        unit.pid, unit.exit_code, unit.check, unit.result = None, code, None, None
        _remove_inputs(unit.process)
        if code == 0 and unit.rules.skippable:
            self._checker.note_done(unit.name, unit.process.fingerprint)
        if unit.name == IMAGE and self._fork_server:
            self._fork_server.close()
            self._fork_server = None
        if session is not None:
            # Tasks of a dead scheduler would continue to run beside their next attempt.
            forked = session_notes.read(self._folder.sessions / unit.name)
            processes.end(processes.find_members((session, *forked)), grace_s=LEFTOVER_GRACE_S)
            shutil.rmtree(self._folder.sessions / unit.name, ignore_errors=True)
            (self._folder.sessions / OWN / str(session)).unlink(missing_ok=True)
        if unit.process.unprivileged:
            processes.end_server(self._launch.site.postgres_data)

    def _collect_check(self, unit: Supervised, pool: ThreadPoolExecutor) -> None:
        health = unit.process.health
        if health is None or unit.pid is None or not unit.unit.gate_open:
            return
        if isinstance(health, ReadyCheck):
            unit.result = self._fork_server.check() if self._fork_server else None
            return
        if unit.check and unit.check.done():
            unit.result, unit.check = unit.check.result(), None
        every = STEADY_CHECK_EVERY_S if unit.unit.phase is Phase.HEALTHY else CHECK_EVERY_S
        if unit.check is None and time.monotonic() - unit.checked_at >= every:
            unit.checked_at = time.monotonic()
            checker = self._server_checker if unit.process.unprivileged else self._checker
            unit.check = pool.submit(checker.check, health, started=unit.started - 1)

    def _is_steady(self) -> bool:
        return not self._stopping and all(unit.is_ready for unit in self._units)

    def _write(self, phase: str = "") -> Snapshot:
        site = self._launch.site
        current = "stopping" if self._stopping else "healthy" if self._is_steady() else "starting"
        if self._was_healthy and current == "starting":
            current = "degraded"
        alive = tuple(unit.pid for unit in self._units if unit.pid is not None)
        forks = {unit.name: session_notes.read(self._folder.sessions / unit.name) for unit in self._units}
        snapshot = Snapshot(
            fleet=self._launch.fleet.name,
            project=str(site.project),
            supervisor=os.getpid(),
            supervisor_started=self._started,
            phase=phase or current,
            url=site.api_url,
            written=self._written.written if self._written else 0.0,
            sessions=(*alive, *(session for found in forks.values() for session in found)),
            processes=tuple(unit.status(forks[unit.name]) for unit in self._units),
        )
        if snapshot != self._written:
            snapshot = replace(snapshot, written=time.time())
            with suppress(
                OSError
            ):  # a full disk must not end the platform; until there is room, `status` shows an old state
                self._folder.write_snapshot(snapshot)
            self._written = snapshot
        return snapshot

    def _rotate_logs(self) -> None:
        if time.monotonic() - self._rotated < ROTATE_EVERY_S:
            return
        self._rotated = time.monotonic()
        processes.forget_ended(self._folder.sessions)
        for log in self._folder.logs.glob("*.log"):
            if log.stat().st_size > LARGEST_LOG_BYTES:
                # Processes keep the file open to append, so it is copied and truncated in place.
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)


def _remove_inputs(process: Process) -> None:
    for file in process.inputs:
        file.path.unlink(missing_ok=True)


def _make_checker(database: Secret, *others: Secret) -> Checker:
    from airfleet.runners.local.checks import Checker  # noqa: PLC0415 - runs while the image imports Airflow

    return Checker(database, others)

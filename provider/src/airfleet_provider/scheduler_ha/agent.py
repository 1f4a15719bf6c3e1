"""The scheduler agent: holds the lease or stands by for it, and owns a scheduler process.

The agent is the loop around `rules`: it observes, lets `rules.decide` choose one action, and carries it out.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import FrameType

from airfleet_provider.contract.lease_schema import CandidateState
from airfleet_provider.contract.text import one_line
from airfleet_provider.processes.polling import wait_readable
from airfleet_provider.scheduler_ha import host
from airfleet_provider.scheduler_ha.db_session import AwayError, DbSession
from airfleet_provider.scheduler_ha.lease import GUARDIAN, Lease
from airfleet_provider.scheduler_ha.rules import (
    MARGIN_S,
    TTL_S,
    LeaseAction,
    LeaseDecision,
    LeaseObservation,
    LeaseRow,
    OwnedLease,
    ProcessState,
    decide,
)
from airfleet_provider.scheduler_ha.scheduler_process import SchedulerProcess, SchedulerWork

log = logging.getLogger(__name__)

ATTEND_EVERY_S = 2.0
# Seconds to wait for the answer to a statement, short enough for a second attempt before the lease expires.
ANSWER_S = 1.5
LEAST_ANSWER_S = 0.05
# If the agent is stuck, the kernel ends it and its scheduler so many seconds after the lease ceased to be sure.
WATCHDOG_S = 0.5
NEVER = float("-inf")

OpenConnection = Callable[[str], object]


class SchedulerAgent:
    """The agent of one seat; `holder` is a name that no other process ever had."""

    def __init__(
        self, open_connection: OpenConnection, work: SchedulerWork, place: host.Candidate, holder: str
    ) -> None:
        self._open_connection = open_connection
        self._work = work
        self._place = place
        self._holder = holder
        self._scheduler: SchedulerProcess | None = None
        self._child = ProcessState.ABSENT
        self._told_to_end = False
        self._exit_code: int | None = None
        self._held: OwnedLease | None = None
        self._lease: Lease | None = None
        self._connected_since = NEVER
        self._row: LeaseRow | None = None
        self._first: LeaseRow | None = None
        # Kept during an outage of the database: a holder that could not renew in this time did not renew.
        self._renewal: float | None = None
        self._renewal_seen = NEVER
        self._looked = NEVER
        self._tried = NEVER
        self._broken = False
        self._stopping = False
        self._attended: tuple[float, CandidateState | None] = (NEVER, None)
        self._said = ""
        self._reader, self._writer = socket.socketpair()

    def run(self) -> int:
        """Run until a signal stops the agent, or until the scheduler ends by itself; return the exit code."""
        self._catch_signals()
        while True:
            self._reap()
            decision = decide(self._see())
            self._say(decision)
            if decision.do is LeaseAction.EXIT:
                break
            try:
                self._act(decision)
            except AwayError as error:
                self._say_lost(error)
                self._disconnect()
        self._exit()
        return self._exit_code if self._exit_code is not None and not self._stopping else 0

    def _catch_signals(self) -> None:
        for end in (self._reader, self._writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _see(self) -> LeaseObservation:
        lease, row, first = self._lease, self._row, self._first
        return LeaseObservation(
            now=host.read_clock(),
            child=self._child,
            held=self._held,
            connected=lease is not None,
            connected_since=self._connected_since,
            row=row,
            looked=self._looked,
            proven=row is not None and first is not None and row.renewed != first.renewed,
            locked=lease is not None and lease.locked,
            broken=self._broken,
            stopping=self._stopping,
            crashed=self._exit_code is not None,
            tried=self._tried,
        )

    def _act(self, decision: LeaseDecision) -> None:
        match decision.do:
            case LeaseAction.WAIT:
                self._wait(decision.wait_s)
            case LeaseAction.CONNECT:
                self._connect()
            case LeaseAction.DISCONNECT:
                self._disconnect()
            case LeaseAction.FORK:
                self._scheduler = SchedulerProcess(self._work, f"airfleet {self._place.seat}")
                self._child, self._told_to_end = ProcessState.WARMING, False
            case LeaseAction.PAUSE:
                self._signal(signal.SIGSTOP, ProcessState.PAUSED)
            case LeaseAction.RESUME:
                self._resume()
            case LeaseAction.STOP:
                self._told_to_end = True
                self._signal(signal.SIGTERM, ProcessState.STOPPING)
            case LeaseAction.KILL:
                self._kill()
            case LeaseAction.FORGET:
                self._held = None
            case _:
                self._act_on_lease(decision)
        self._watch()

    def _act_on_lease(self, decision: LeaseDecision) -> None:
        lease, held = self._lease, self._held
        assert lease  # noqa: S101 - decide() asks for these only while connected
        now = host.read_clock()
        match decision.do:
            case LeaseAction.LOOK:
                self._row = self._date(lease.read())
                self._first = self._first or self._row
                self._looked, self._broken = host.read_clock(), False
                self._attend(
                    lease, CandidateState.STANDBY if self._child is ProcessState.READY else CandidateState.WARMING
                )
            case LeaseAction.TRY:
                self._tried = now
                lease.lock()
            case LeaseAction.BREAK if self._row:
                lease.break_lock(self._row.renewed)
                self._broken = True
            case LeaseAction.TAKE:
                epoch = lease.acquire(decision.why)
                self._held = OwnedLease(epoch, sure_until=now + TTL_S - MARGIN_S, renewed=now)
            case LeaseAction.RENEW if held:
                self._renew(lease, held, now)
            case LeaseAction.FENCE if held:
                self._fence(lease, held)
            case LeaseAction.START if held and self._scheduler:
                lease.note_begin(held.epoch)
                self._held = held.go_on(host.read_clock())
                self._scheduler.start(held.epoch)
                self._child = ProcessState.RUNNING
                self._attend(lease, CandidateState.ACTIVE)
            case LeaseAction.RELEASE if held:
                self._held = None
                lease.release(held.epoch)

    def _date(self, row: LeaseRow) -> LeaseRow:
        """Return the lease with its expiry by our own clock, counted from when we first saw its last renewal."""
        if row.renewed != self._renewal:
            self._renewal, self._renewal_seen = row.renewed, host.read_clock()
        return replace(row, expires=self._renewal_seen + TTL_S)

    def _connect(self) -> None:
        self._tried = host.read_clock()
        session = DbSession(self._open_connection, GUARDIAN + self._holder, answer_in=self._answer_in)
        self._lease = Lease(session, holder=self._holder, place=self._place, ttl_s=TTL_S)
        self._connected_since = host.read_clock()
        self._row = self._first = None

    def _answer_in(self) -> float:
        """Return the seconds to wait for an answer: no longer than the lease is sure while the scheduler runs."""
        if self._held is None or self._child is not ProcessState.RUNNING:
            return ANSWER_S
        return max(LEAST_ANSWER_S, min(ANSWER_S, self._held.sure_until - host.read_clock()))

    def _disconnect(self) -> None:
        if self._lease:
            self._lease.close()
        self._lease, self._row, self._first, self._broken = None, None, None, False

    def _renew(self, lease: Lease, held: OwnedLease, now: float) -> None:
        requested = lease.renew(held.epoch)
        if requested is not None:
            beat = self._work.read_beat(lease.session)
            self._held = held.renew(now, requested=requested, beat=beat)
            self._attend(
                lease, CandidateState.ACTIVE if self._child is ProcessState.RUNNING else CandidateState.TAKING_OVER
            )
            return
        row = lease.read()
        if (row.epoch, row.holder) == (held.epoch, self._holder):
            self._wait(0.1)  # the lock still belongs to an earlier session of our own, which has not ended yet
        else:
            self._held = None

    def _fence(self, lease: Lease, held: OwnedLease) -> None:
        for session, started in lease.list_unfenced(held.epoch) if self._work.is_local else ():
            host.end_session(session, started)
        if lease.end_predecessors(held.epoch):
            self._wait(0.01)
            return
        self._work.retire(lease.session)
        lease.note_fenced(held.epoch)
        self._held = held.fence()

    def _resume(self) -> None:
        if self._held:
            self._held = self._held.go_on(host.read_clock())
        self._signal(signal.SIGCONT, ProcessState.RUNNING)

    def _signal(self, number: signal.Signals, child: ProcessState) -> None:
        if self._scheduler:
            self._scheduler.signal(number)
        self._child = child

    def _kill(self) -> None:
        self._told_to_end = not (self._held and self._child is ProcessState.RUNNING)  # a hung scheduler is a crash
        if self._scheduler:
            self._scheduler.signal(signal.SIGKILL)
            self._reap(patiently=True)

    def _reap(self, *, patiently: bool = False) -> None:
        code = self._scheduler.reap(patiently=patiently) if self._scheduler else None
        if code is None:
            if self._child is ProcessState.WARMING and self._scheduler and self._scheduler.is_ready():
                self._child = ProcessState.READY
            return
        # Processes that the scheduler left, such as its own tasks, must not run beside the next scheduler.
        host.end_session(self._place.session)
        self._scheduler, self._child = None, ProcessState.ABSENT
        if not self._told_to_end:
            log.warning("the scheduler ended by itself with exit code %s", code)
            self._exit_code = code if code > 0 else 1

    def _attend(self, lease: Lease, state: CandidateState) -> None:
        now = host.read_clock()
        then, before = self._attended
        if state != before or now - then >= ATTEND_EVERY_S:
            lease.attend(state)
            self._attended = (now, state)

    def _watch(self) -> None:
        # SIGALRM's default action ends this process even if Python cannot run; the scheduler ends with its parent.
        seconds = 0.0
        if self._held and self._child in (ProcessState.RUNNING, ProcessState.STOPPING):
            seconds = max(0.001, self._held.sure_until + WATCHDOG_S - host.read_clock())
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _wait(self, seconds: float) -> None:
        sources: list[socket.socket | SchedulerProcess | DbSession] = [self._reader]
        if self._scheduler and self._child is ProcessState.WARMING:
            sources.append(self._scheduler)
        if self._lease:
            sources.append(self._lease.session)
        ready = wait_readable(sources, seconds)
        if self._reader in ready:
            with suppress(BlockingIOError):
                self._reader.recv(4096)
        if self._lease and self._lease.session in ready and self._lease.session.take_notices():
            self._looked = NEVER
            if self._held:
                self._held = self._held.hurry()

    def _exit(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self._lease:
            with suppress(AwayError):
                self._lease.leave()
        self._disconnect()
        signal.set_wakeup_fd(-1)

    def _say(self, decision: LeaseDecision) -> None:
        quiet = decision.do in (
            LeaseAction.WAIT,
            LeaseAction.LOOK,
            LeaseAction.TRY,
            LeaseAction.RENEW,
            LeaseAction.CONNECT,
            LeaseAction.DISCONNECT,
        )
        if not quiet and (text := f"{decision.do.name.lower()}: {decision.why}") != self._said:
            log.info("%s", text)
            self._said = text

    def _say_lost(self, error: AwayError) -> None:
        text = f"the database does not answer: {one_line(str(error).strip() or type(error).__name__)}"
        if text != self._said:
            log.warning("%s", text)
            self._said = text

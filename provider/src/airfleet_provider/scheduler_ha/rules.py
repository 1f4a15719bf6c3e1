"""The rules of the lease: from the observation of one agent to its next action. No I/O, no clock.

Times are seconds of this machine's clock that continues while the machine sleeps. The lease is certainly ours until
`HeldLease.sure_until`, which is `MARGIN_S` before another agent could take it. An agent that has not renewed by then
pauses its scheduler. It resumes the scheduler only if the lease is still its own.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

# Seconds from the last renewal until the lease expires; then a standby replaces a frozen or disconnected holder.
TTL_S = 6.0
RENEW_EVERY_S = 1.0
# The scheduler is paused so many seconds before another agent could take the lease.
MARGIN_S = 1.0
# A standby reads the lease so often; this is most of the gap after a crash.
LOOK_EVERY_S = 0.2
# After an outage of the database, standbys wait for so long, so that the holder can keep the lease and its scheduler.
PATIENCE_S = 2.0
RECONNECT_EVERY_S = 0.2
# A scheduler is hung if its own heartbeat, due every 5 s, has not changed for so long.
HUNG_AFTER_S = 30.0


class ProcessState(enum.Enum):
    """The state of an agent's scheduler process."""

    ABSENT = enum.auto()
    WARMING = enum.auto()
    READY = enum.auto()
    RUNNING = enum.auto()
    PAUSED = enum.auto()
    STOPPING = enum.auto()


class LeaseAction(enum.Enum):
    """The next action of an agent."""

    WAIT = enum.auto()
    CONNECT = enum.auto()
    DISCONNECT = enum.auto()
    FORK = enum.auto()
    LOOK = enum.auto()
    TRY = enum.auto()
    BREAK = enum.auto()
    TAKE = enum.auto()
    FENCE = enum.auto()
    START = enum.auto()
    RENEW = enum.auto()
    PAUSE = enum.auto()
    RESUME = enum.auto()
    STOP = enum.auto()
    KILL = enum.auto()
    RELEASE = enum.auto()
    FORGET = enum.auto()
    EXIT = enum.auto()


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """The lease as the agent read it; `free` if it has no holder.

    `renewed` is a time of the database's clock: it only shows whether the lease was renewed since an earlier read.
    `expires` is a time of our own clock, counted from when we saw the last renewal.
    """

    epoch: int
    holder: str
    renewed: float
    expires: float = float("inf")
    requested: bool = False

    @property
    def free(self) -> bool:
        return not self.holder


@dataclass(frozen=True, slots=True)
class OwnedLease:
    """The lease while this agent holds it."""

    epoch: int
    sure_until: float
    renewed: float
    fenced: bool = False
    requested: bool = False
    # When the scheduler started, or resumed after a pause or an outage.
    running_since: float = 0.0
    # The stamp of the scheduler's last heartbeat, by its host's clock; None before the agent has read it.
    beat: str | None = None
    # When we saw that stamp change, by our own clock; None if it has not changed since `running_since`.
    beat_seen: float | None = None

    def renew(self, now: float, *, requested: bool, beat: str | None) -> OwnedLease:
        """Return the lease after a renewal whose statement was sent at `now`; `beat` was read after it."""
        is_new = self.beat is not None and beat != self.beat
        return replace(
            self,
            renewed=now,
            sure_until=now + TTL_S - MARGIN_S,
            requested=requested,
            beat=beat,
            beat_seen=now if is_new else self.beat_seen,
        )

    def hurry(self) -> OwnedLease:
        """Return the lease so that the agent renews it at once, because a notification arrived."""
        return replace(self, renewed=float("-inf"))

    def fence(self) -> OwnedLease:
        """Return the lease with all earlier holders' processes ended."""
        return replace(self, fenced=True)

    def go_on(self, now: float) -> OwnedLease:
        """Return the lease with a scheduler that runs from now on."""
        return replace(self, running_since=now, beat=None, beat_seen=None)


@dataclass(frozen=True, slots=True)
class LeaseObservation:
    """What one agent observes at `now`.

    `row` and `looked` belong to the current connection. `proven` means that the holder has renewed while we were
    connected: if its lock is free afterwards, the holder has ended, and not only the database. `locked` means that we
    own the lock.
    """

    now: float
    child: ProcessState
    held: OwnedLease | None = None
    connected: bool = False
    connected_since: float = 0.0
    row: LeaseRow | None = None
    looked: float = float("-inf")
    proven: bool = False
    locked: bool = False
    broken: bool = False
    stopping: bool = False
    # The scheduler ended by itself: the agent exits, and its supervisor (systemd or `airfleet up`) starts both again.
    crashed: bool = False
    tried: float = float("-inf")


@dataclass(frozen=True, slots=True)
class LeaseDecision:
    """The next action, its reason and, for `WAIT`, the seconds to wait."""

    do: LeaseAction
    why: str
    wait_s: float = 0.0


def decide(seen: LeaseObservation) -> LeaseDecision:
    """Return the next action of an agent."""
    if seen.held:
        return _decide_held(seen, seen.held)
    if seen.child in (ProcessState.RUNNING, ProcessState.PAUSED, ProcessState.STOPPING):
        return LeaseDecision(LeaseAction.KILL, "this agent does not hold the lease, so its scheduler must not run")
    if seen.stopping:
        if seen.child is not ProcessState.ABSENT:
            return LeaseDecision(LeaseAction.KILL, "this agent is being stopped")
        return LeaseDecision(LeaseAction.EXIT, "this agent is being stopped")
    if seen.crashed:
        return LeaseDecision(LeaseAction.EXIT, "the scheduler has ended by itself")
    if seen.child is ProcessState.ABSENT:
        # A child forked now would inherit the connection, and keep it open after our end.
        if seen.connected:
            return LeaseDecision(LeaseAction.DISCONNECT, "a new scheduler must be forked first")
        return LeaseDecision(LeaseAction.FORK, "there is no scheduler process yet")
    if not seen.connected:
        return _connect(seen)
    return _decide_standby(seen)


def _connect(seen: LeaseObservation) -> LeaseDecision:
    remaining = seen.tried + RECONNECT_EVERY_S - seen.now
    if remaining > 0:
        return LeaseDecision(LeaseAction.WAIT, "the database does not answer", remaining)
    return LeaseDecision(LeaseAction.CONNECT, "not connected to the database")


def _decide_standby(seen: LeaseObservation) -> LeaseDecision:
    row = seen.row
    if seen.child is ProcessState.WARMING:
        return _look(seen, "the scheduler is getting ready")
    if row is None or seen.now - seen.looked >= LOOK_EVERY_S:
        return LeaseDecision(LeaseAction.LOOK, "who holds the lease?")
    if seen.locked:
        return LeaseDecision(LeaseAction.TAKE, _describe_taking(row, seen.now))
    patient = not seen.proven and seen.now - seen.connected_since < PATIENCE_S
    if row.free:
        return _try(seen, "the lease is free")
    if seen.now > row.expires and not patient:
        if not seen.broken:
            return LeaseDecision(LeaseAction.BREAK, f"{row.holder} has not renewed the lease in time")
        return _try(seen, f"{row.holder} has not renewed the lease in time")
    if seen.proven:
        return _try(seen, f"{row.holder} holds the lease")
    return _look(seen, f"{row.holder} holds the lease")


def _look(seen: LeaseObservation, why: str) -> LeaseDecision:
    remaining = seen.looked + LOOK_EVERY_S - seen.now
    return LeaseDecision(LeaseAction.WAIT, why, remaining) if remaining > 0 else LeaseDecision(LeaseAction.LOOK, why)


def _try(seen: LeaseObservation, why: str) -> LeaseDecision:
    # Try once after each read of the lease: only the session of a living holder can stop us from getting the lock.
    if seen.tried >= seen.looked:
        return _look(seen, why)
    return LeaseDecision(LeaseAction.TRY, why)


def _describe_taking(row: LeaseRow, now: float) -> str:
    if row.free:
        return "the lease is free"
    if now > row.expires:
        return f"{row.holder} has not renewed the lease in time"
    return f"{row.holder} has gone: its session has ended"


def _decide_held(seen: LeaseObservation, held: OwnedLease) -> LeaseDecision:
    child = seen.child
    if child is ProcessState.RUNNING and seen.now >= held.sure_until:
        return LeaseDecision(LeaseAction.PAUSE, "the lease could not be renewed in time")
    if child is ProcessState.STOPPING and seen.now >= held.sure_until:
        return LeaseDecision(LeaseAction.KILL, "the lease could not be renewed in time")
    if child is ProcessState.ABSENT:
        if not seen.connected:
            return LeaseDecision(
                LeaseAction.FORGET, "the scheduler has ended and the database does not answer: the lease runs out"
            )
        return LeaseDecision(
            LeaseAction.RELEASE, "the scheduler has ended" if held.fenced else "there is no scheduler to run"
        )
    if seen.stopping and child in (ProcessState.PAUSED, ProcessState.WARMING, ProcessState.READY):
        return LeaseDecision(LeaseAction.KILL, "this agent is being stopped")
    if child is ProcessState.RUNNING and seen.stopping:
        return LeaseDecision(LeaseAction.STOP, "this agent is being stopped")
    if not seen.connected:
        decision = _connect(seen)
        if child is ProcessState.RUNNING and decision.do is LeaseAction.WAIT:
            wait = max(0.0, min(decision.wait_s, held.sure_until - seen.now))
            return LeaseDecision(LeaseAction.WAIT, decision.why, wait)
        return decision
    return _decide_holder(seen, held)


def _decide_holder(seen: LeaseObservation, held: OwnedLease) -> LeaseDecision:
    child = seen.child
    if not seen.locked or seen.now >= held.renewed + RENEW_EVERY_S:
        return LeaseDecision(LeaseAction.RENEW, f"this is the holder of epoch {held.epoch}")
    if not held.fenced:
        return LeaseDecision(LeaseAction.FENCE, "the last holder's processes must end first")
    if child is ProcessState.READY:
        return LeaseDecision(LeaseAction.START, f"this agent holds the lease, epoch {held.epoch}")
    if child is ProcessState.PAUSED:
        return LeaseDecision(LeaseAction.RESUME, "no other agent took the lease during the pause")
    if child is ProcessState.RUNNING:
        if held.requested:
            return LeaseDecision(LeaseAction.STOP, "a hand-over was requested")
        if _is_hung(seen.now, held):
            return LeaseDecision(LeaseAction.KILL, "the scheduler is alive but does not schedule")
    waiting = max(0.0, held.renewed + RENEW_EVERY_S - seen.now)
    return LeaseDecision(LeaseAction.WAIT, f"this is the holder of epoch {held.epoch}", waiting)


def _is_hung(now: float, held: OwnedLease) -> bool:
    # After a start, a pause or an outage the first heartbeat may take long on a busy machine: wait three times as long.
    if held.beat_seen is None:
        return now - held.running_since > 3 * HUNG_AFTER_S
    return now - held.beat_seen > HUNG_AFTER_S

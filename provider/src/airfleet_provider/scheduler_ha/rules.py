"""The rules of the lease: from what one agent sees to the one thing it does next. No I/O, no clock.

Times are seconds of one clock of this machine that runs on while the machine sleeps. The lease is sure to be ours
until `Held.sure_until`, which comes a margin before anybody else could take it: whoever has not renewed by then stops
its scheduler where it stands, and lets it go on only when the lease turns out to be its own still.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

# The lease runs out so long after its last renewal; a frozen or parted holder is replaced after that.
TTL_S = 6.0
RENEW_EVERY_S = 1.0
# The scheduler is stopped so long before the lease may be another's.
MARGIN_S = 1.0
# A standby looks so often; this is most of the gap after a crash.
LOOK_EVERY_S = 0.2
# After an outage of the database the old holder may come back first, so that its scheduler need not begin anew.
PATIENCE_S = 2.0
RECONNECT_EVERY_S = 0.2
# A scheduler whose own heartbeat, due every 5 s, has not changed for so long does not schedule.
HUNG_AFTER_S = 30.0


class ProcessState(enum.Enum):
    """The scheduler process of an agent."""

    ABSENT = enum.auto()
    WARMING = enum.auto()
    READY = enum.auto()
    RUNNING = enum.auto()
    PAUSED = enum.auto()
    STOPPING = enum.auto()


class LeaseAction(enum.Enum):
    """What an agent does next."""

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
    """The lease as it was read: `free` when nobody holds it.

    `renewed` is a stamp by the database's clock, and says only whether the lease was renewed since an earlier look.
    `expires` is by our own clock, from when we saw the last renewal.
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
class HeldLease:
    """The lease while it is ours."""

    epoch: int
    sure_until: float
    renewed: float
    fenced: bool = False
    requested: bool = False
    # When the scheduler began, or could go on after a pause or an outage.
    running_since: float = 0.0
    # The stamp of the scheduler's last heartbeat, by its host's clock; unknown before the first look.
    beat: str | None = None
    # When we saw that stamp change, by our own clock; never since `running_since` when there is none.
    beat_seen: float | None = None

    def renew(self, now: float, *, requested: bool, beat: str | None) -> HeldLease:
        """Renewed by a statement that was sent at this time; `beat` was read after it."""
        is_new = self.beat is not None and beat != self.beat
        return replace(
            self,
            renewed=now,
            sure_until=now + TTL_S - MARGIN_S,
            requested=requested,
            beat=beat,
            beat_seen=now if is_new else self.beat_seen,
        )

    def hurry(self) -> HeldLease:
        """Renewed next, because something was announced."""
        return replace(self, renewed=float("-inf"))

    def fence(self) -> HeldLease:
        """With nothing left of the holders before."""
        return replace(self, fenced=True)

    def go_on(self, now: float) -> HeldLease:
        """With a scheduler that runs from now on."""
        return replace(self, running_since=now, beat=None, beat_seen=None)


@dataclass(frozen=True, slots=True)
class Observation:
    """What one agent sees at `now`.

    `row` and `looked` are of this connection; `proven` says that the holder has renewed while we were connected, so
    that its lock, once free, is proof of its end and not of an outage of the database. `locked` says that we hold it.
    """

    now: float
    child: ProcessState
    held: HeldLease | None = None
    connected: bool = False
    connected_since: float = 0.0
    row: LeaseRow | None = None
    looked: float = float("-inf")
    proven: bool = False
    locked: bool = False
    broken: bool = False
    stopping: bool = False
    # The scheduler ended, and nobody had told it to: whoever supervises the agent begins both anew, in its own time.
    crashed: bool = False
    tried: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Decision:
    """The next act, why, and for how long nothing else is to be done when it is to wait."""

    do: LeaseAction
    why: str
    wait_s: float = 0.0


def decide(seen: Observation) -> Decision:
    """The next act of an agent."""
    if seen.held:
        return _decide_held(seen, seen.held)
    if seen.child in (ProcessState.RUNNING, ProcessState.PAUSED, ProcessState.STOPPING):
        return Decision(LeaseAction.KILL, "the lease is another's, so this scheduler must not run")
    if seen.stopping:
        if seen.child is not ProcessState.ABSENT:
            return Decision(LeaseAction.KILL, "this guardian is asked to end")
        return Decision(LeaseAction.EXIT, "asked to end")
    if seen.crashed:
        return Decision(LeaseAction.EXIT, "the scheduler has ended by itself")
    if seen.child is ProcessState.ABSENT:
        # A child forked now would share the connection, and keep it open after our end.
        if seen.connected:
            return Decision(LeaseAction.DISCONNECT, "a new scheduler is made ready first")
        return Decision(LeaseAction.FORK, "there is no scheduler to make ready")
    if not seen.connected:
        return _connect(seen)
    return _decide_standby(seen)


def _connect(seen: Observation) -> Decision:
    remaining = seen.tried + RECONNECT_EVERY_S - seen.now
    if remaining > 0:
        return Decision(LeaseAction.WAIT, "the database does not answer", remaining)
    return Decision(LeaseAction.CONNECT, "not connected to the database")


def _decide_standby(seen: Observation) -> Decision:
    row = seen.row
    if seen.child is ProcessState.WARMING:
        return _look(seen, "the scheduler is being made ready")
    if row is None or seen.now - seen.looked >= LOOK_EVERY_S:
        return Decision(LeaseAction.LOOK, "who holds the lease?")
    if seen.locked:
        return Decision(LeaseAction.TAKE, _describe_taking(row, seen.now))
    patient = not seen.proven and seen.now - seen.connected_since < PATIENCE_S
    if row.free:
        return _try(seen, "the lease is free")
    if seen.now > row.expires and not patient:
        if not seen.broken:
            return Decision(LeaseAction.BREAK, f"{row.holder} has not renewed the lease in time")
        return _try(seen, f"{row.holder} has not renewed the lease in time")
    if seen.proven:
        return _try(seen, f"{row.holder} holds the lease")
    return _look(seen, f"{row.holder} holds the lease")


def _look(seen: Observation, why: str) -> Decision:
    remaining = seen.looked + LOOK_EVERY_S - seen.now
    return Decision(LeaseAction.WAIT, why, remaining) if remaining > 0 else Decision(LeaseAction.LOOK, why)


def _try(seen: Observation, why: str) -> Decision:
    # Tried once after each look: only the session of a holder that lives can keep us from it.
    if seen.tried >= seen.looked:
        return _look(seen, why)
    return Decision(LeaseAction.TRY, why)


def _describe_taking(row: LeaseRow, now: float) -> str:
    if row.free:
        return "the lease is free"
    if now > row.expires:
        return f"{row.holder} has not renewed the lease in time"
    return f"{row.holder} has gone: its session has ended"


def _decide_held(seen: Observation, held: HeldLease) -> Decision:
    child = seen.child
    if child is ProcessState.RUNNING and seen.now >= held.sure_until:
        return Decision(LeaseAction.PAUSE, "the lease could not be renewed in time")
    if child is ProcessState.STOPPING and seen.now >= held.sure_until:
        return Decision(LeaseAction.KILL, "the lease could not be renewed in time")
    if child is ProcessState.ABSENT:
        if not seen.connected:
            return Decision(
                LeaseAction.FORGET, "the scheduler has ended and the database does not answer: the lease runs out"
            )
        return Decision(
            LeaseAction.RELEASE, "the scheduler has ended" if held.fenced else "there is no scheduler to run"
        )
    if seen.stopping and child in (ProcessState.PAUSED, ProcessState.WARMING, ProcessState.READY):
        return Decision(LeaseAction.KILL, "this guardian is asked to end")
    if child is ProcessState.RUNNING and seen.stopping:
        return Decision(LeaseAction.STOP, "this guardian is asked to end")
    if not seen.connected:
        decision = _connect(seen)
        if child is ProcessState.RUNNING and decision.do is LeaseAction.WAIT:
            wait = max(0.0, min(decision.wait_s, held.sure_until - seen.now))
            return Decision(LeaseAction.WAIT, decision.why, wait)
        return decision
    return _decide_holder(seen, held)


def _decide_holder(seen: Observation, held: HeldLease) -> Decision:
    child = seen.child
    if not seen.locked or seen.now >= held.renewed + RENEW_EVERY_S:
        return Decision(LeaseAction.RENEW, f"this is the holder of epoch {held.epoch}")
    if not held.fenced:
        return Decision(LeaseAction.FENCE, "what the last holder left is ended first")
    if child is ProcessState.READY:
        return Decision(LeaseAction.START, f"the lease is ours, epoch {held.epoch}")
    if child is ProcessState.PAUSED:
        return Decision(LeaseAction.RESUME, "nobody else took the lease meanwhile")
    if child is ProcessState.RUNNING:
        if held.requested:
            return Decision(LeaseAction.STOP, "a hand-over was asked for")
        if _is_hung(seen.now, held):
            return Decision(LeaseAction.KILL, "the scheduler lives and does not schedule")
    waiting = max(0.0, held.renewed + RENEW_EVERY_S - seen.now)
    return Decision(LeaseAction.WAIT, f"this is the holder of epoch {held.epoch}", waiting)


def _is_hung(now: float, held: HeldLease) -> bool:
    # One that has begun, or gone on after an outage, has not had its turn yet: on a busy machine it takes its time.
    if held.beat_seen is None:
        return now - held.running_since > 3 * HUNG_AFTER_S
    return now - held.beat_seen > HUNG_AFTER_S

"""The rules of supervision: they decide from the observed state of a process what to do (ADR 2). No I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

# Seconds until a crashed process starts again: 0.5, 1, 2 and so on up to 30. After a minute of health the count is 0.
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
FORGIVEN_AFTER_S = 60.0
# Seconds of failed health checks after which a running process counts as hung and is killed.
HUNG_AFTER_S = 90.0
# Seconds that a process may take to become healthy. On a slow machine, a new start would not help.
START_TIMEOUT_S = 180.0


class Phase(enum.StrEnum):
    """The phase of a supervised process."""

    WAITING = "waiting"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    BACKOFF = "restarting"
    DONE = "done"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one health check. `detail` says why a process is not healthy.

    A check that is not `conclusive` could not be made, because what it needs is down. It never kills a process.
    """

    healthy: bool
    detail: str = ""
    conclusive: bool = True


class Do(enum.Enum):
    """The next action of the supervisor for one process."""

    NOTHING = enum.auto()
    START = enum.auto()
    OPEN_GATE = enum.auto()
    STOP = enum.auto()
    KILL = enum.auto()


@dataclass(frozen=True, slots=True)
class ProcessRules:
    """The properties of a process that the rules depend on. One that starts `ahead` waits at its gate."""

    once: bool
    skippable: bool
    ahead: bool
    checked: bool
    stop_timeout_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """The observed state of one process at `now`, in seconds of a monotonic clock.

    `exit_code` is negative for a signal. `healthy` is the newest result of its check, or None without a result.
    `released` means that every process it waits for is healthy or done. `forkable` means that the image it would be
    forked from is ready. `done_before` means that a skippable job need not run again; it is read after the release.
    """

    now: float
    alive: bool
    released: bool
    forkable: bool = True
    done_before: bool = False
    stopping: bool = False
    exit_code: int | None = None
    healthy: bool | None = None
    detail: str = ""
    conclusive: bool = True


@dataclass(frozen=True, slots=True)
class SupervisedProcess:
    """The supervision state of one process. `killed_for` says why airfleet itself has killed it."""

    phase: Phase = Phase.WAITING
    since: float = 0.0
    forked: bool = False
    gate_open: bool = False
    failures: int = 0
    restarts: int = 0
    detail: str = ""
    killed_for: str = ""

    def enter(self, phase: Phase, now: float, detail: str = "") -> SupervisedProcess:
        """Return the unit in another phase, which begins now."""
        return replace(self, phase=phase, since=now, detail=detail)


def decide(unit: SupervisedProcess, rules: ProcessRules, seen: Seen) -> tuple[SupervisedProcess, Do]:
    """Return the next state of a unit, and the one action to take now."""
    if seen.stopping:
        return _decide_stop(unit, rules, seen)
    if unit.forked and not seen.alive:
        return _decide_exit(unit, rules, seen)
    match unit.phase:
        case Phase.DONE | Phase.STOPPED | Phase.STOPPING:
            return unit, Do.NOTHING
        case Phase.BACKOFF:
            if seen.now - unit.since < backoff(unit.failures):
                return unit, Do.NOTHING
            return replace(unit.enter(Phase.WAITING, seen.now), restarts=unit.restarts + 1), Do.NOTHING
        case Phase.WAITING:
            return _decide_start(unit, rules, seen)
        case Phase.STARTING | Phase.HEALTHY | Phase.UNHEALTHY:
            return _decide_health(unit, rules, seen)


def backoff(failures: int) -> float:
    """Return the seconds to wait after this number of crashes in a row."""
    return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** max(0, failures - 1))


def _decide_start(unit: SupervisedProcess, rules: ProcessRules, seen: Seen) -> tuple[SupervisedProcess, Do]:
    # A process may start before it may work, so that its imports take no time later. Its gate holds it.
    if rules.skippable and not unit.forked:
        if not seen.released:
            return unit, Do.NOTHING
        if seen.done_before:
            return unit.enter(Phase.DONE, seen.now, "nothing has changed"), Do.NOTHING
    if not unit.forked and (seen.forkable if rules.ahead else seen.released):
        return replace(unit, forked=True, gate_open=False), Do.START
    if not unit.forked or not seen.released:
        return unit, Do.NOTHING
    settled = Phase.STARTING if rules.checked or rules.once else Phase.HEALTHY
    return replace(unit.enter(settled, seen.now), gate_open=True), Do.OPEN_GATE


def _decide_health(unit: SupervisedProcess, rules: ProcessRules, seen: Seen) -> tuple[SupervisedProcess, Do]:
    if not rules.checked or seen.healthy is None:
        return unit, Do.NOTHING
    if seen.healthy:
        if unit.phase is not Phase.HEALTHY:
            return replace(unit.enter(Phase.HEALTHY, seen.now), killed_for=""), Do.NOTHING
        if unit.failures and seen.now - unit.since > FORGIVEN_AFTER_S:
            return replace(unit, failures=0), Do.NOTHING
        return unit, Do.NOTHING
    if unit.phase is Phase.HEALTHY:
        return unit.enter(Phase.UNHEALTHY, seen.now, seen.detail), Do.NOTHING
    if not seen.conclusive:
        return replace(unit, since=seen.now, detail=seen.detail), Do.NOTHING
    limit = START_TIMEOUT_S if unit.phase is Phase.STARTING else HUNG_AFTER_S
    if seen.now - unit.since > limit:
        hung = replace(unit, since=seen.now, detail=f"hung: {seen.detail}")
        return replace(hung, killed_for=f"it was not healthy for {limit:.0f} s: {seen.detail}"), Do.KILL
    return replace(unit, detail=seen.detail), Do.NOTHING


def _decide_exit(unit: SupervisedProcess, rules: ProcessRules, seen: Seen) -> tuple[SupervisedProcess, Do]:
    gone = replace(unit, forked=False, gate_open=False, killed_for="")
    if rules.once and unit.gate_open and seen.exit_code == 0:
        return gone.enter(Phase.DONE, seen.now), Do.NOTHING
    failed = replace(gone, failures=unit.failures + 1)
    why = f"killed, since {unit.killed_for}" if unit.killed_for else describe_exit(seen.exit_code)
    return failed.enter(Phase.BACKOFF, seen.now, why), Do.NOTHING


def _decide_stop(unit: SupervisedProcess, rules: ProcessRules, seen: Seen) -> tuple[SupervisedProcess, Do]:
    if not unit.forked or not seen.alive:
        if unit.phase in (Phase.STOPPED, Phase.DONE):
            return unit, Do.NOTHING
        return replace(unit.enter(Phase.STOPPED, seen.now), forked=False), Do.NOTHING
    if unit.phase is not Phase.STOPPING:
        return unit.enter(Phase.STOPPING, seen.now), Do.STOP
    if seen.now - unit.since > rules.stop_timeout_s:
        return replace(unit, since=seen.now, detail="did not stop in time; killed"), Do.KILL
    return unit, Do.NOTHING


def describe_exit(code: int | None) -> str:
    """Describe an exit code."""
    if code is None:
        return "vanished"
    return f"ended by signal {-code}" if code < 0 else f"exited with code {code}"

"""What a guardian does about what it sees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airfleet_provider.scheduler_ha.rules import (
    HUNG_AFTER_S,
    LOOK_EVERY_S,
    MARGIN_S,
    PATIENCE_S,
    RENEW_EVERY_S,
    TTL_S,
    LeaseAction,
    LeaseObservation,
    LeaseRow,
    OwnedLease,
    ProcessState,
    decide,
)

NOW = 1000.0
THEIRS = LeaseRow(epoch=4, holder="b:1", renewed=900.0, expires=NOW + 3)
FREE = LeaseRow(epoch=4, holder="", renewed=900.0, expires=NOW - 50)
EXPIRED = replace(THEIRS, expires=NOW - 0.1)
STANDBY = LeaseObservation(
    now=NOW,
    child=ProcessState.READY,
    connected=True,
    connected_since=NOW - 60,
    row=THEIRS,
    looked=NOW,
    proven=True,
    tried=NOW,
)
HELD = OwnedLease(
    epoch=5, sure_until=NOW + 4, renewed=NOW, fenced=True, running_since=NOW - 100, beat="b", beat_seen=NOW - 1
)
ACTIVE = LeaseObservation(
    now=NOW, child=ProcessState.RUNNING, held=HELD, connected=True, row=THEIRS, looked=NOW - 200, locked=True
)


def held(**changes: object) -> OwnedLease:
    return replace(HELD, **changes)  # type: ignore[arg-type]


STANDBY_CASES = {
    "makes a scheduler ready first": (replace(STANDBY, child=ProcessState.ABSENT, connected=False), LeaseAction.FORK),
    "shares no connection with a child": (replace(STANDBY, child=ProcessState.ABSENT), LeaseAction.DISCONNECT),
    "connects": (replace(STANDBY, connected=False, tried=NOW - 1), LeaseAction.CONNECT),
    "waits between attempts to connect": (replace(STANDBY, connected=False), LeaseAction.WAIT),
    "looks": (replace(STANDBY, looked=NOW - LOOK_EVERY_S), LeaseAction.LOOK),
    "only looks while it is not ready": (
        replace(STANDBY, child=ProcessState.WARMING, row=FREE, tried=0),
        LeaseAction.WAIT,
    ),
    "tries after each look whether the holder lives": (replace(STANDBY, tried=NOW - 0.1), LeaseAction.TRY),
    "tries once a look": (STANDBY, LeaseAction.WAIT),
    "takes what is free": (replace(STANDBY, row=FREE, locked=True), LeaseAction.TAKE),
    "takes over from a holder whose session ended": (replace(STANDBY, locked=True), LeaseAction.TAKE),
    "ends the session of a holder that is late": (replace(STANDBY, row=EXPIRED), LeaseAction.BREAK),
    "then tries": (replace(STANDBY, row=EXPIRED, broken=True, tried=NOW - 0.1), LeaseAction.TRY),
    "takes no lock for proof that was free after an outage": (
        replace(STANDBY, proven=False, connected_since=NOW - 0.1, tried=0),
        LeaseAction.WAIT,
    ),
    "lets the old holder come back first after an outage": (
        replace(STANDBY, proven=False, connected_since=NOW - 0.1, row=EXPIRED, tried=0),
        LeaseAction.WAIT,
    ),
    "but not for long": (
        replace(STANDBY, proven=False, connected_since=NOW - PATIENCE_S, row=EXPIRED, tried=0),
        LeaseAction.BREAK,
    ),
    "ends with its scheduler": (replace(STANDBY, stopping=True), LeaseAction.KILL),
    "and exits": (replace(STANDBY, stopping=True, child=ProcessState.ABSENT), LeaseAction.EXIT),
    "runs no scheduler without the lease": (replace(STANDBY, child=ProcessState.RUNNING), LeaseAction.KILL),
    "keeps no paused one either": (replace(STANDBY, child=ProcessState.PAUSED), LeaseAction.KILL),
    "exits when its scheduler has ended by itself": (
        replace(STANDBY, child=ProcessState.ABSENT, crashed=True),
        LeaseAction.EXIT,
    ),
}
ACTIVE_CASES = {
    "waits for the next renewal": (ACTIVE, LeaseAction.WAIT),
    "renews": (replace(ACTIVE, held=held(renewed=NOW - RENEW_EVERY_S)), LeaseAction.RENEW),
    "renews at once on a new connection": (replace(ACTIVE, locked=False), LeaseAction.RENEW),
    "ends what came before": (replace(ACTIVE, child=ProcessState.READY, held=held(fenced=False)), LeaseAction.FENCE),
    "then lets the scheduler go": (replace(ACTIVE, child=ProcessState.READY), LeaseAction.START),
    "pauses it while the lease is still sure": (replace(ACTIVE, held=held(sure_until=NOW)), LeaseAction.PAUSE),
    "also without a connection": (replace(ACTIVE, connected=False, held=held(sure_until=NOW)), LeaseAction.PAUSE),
    "lets it go on when nobody took the lease": (replace(ACTIVE, child=ProcessState.PAUSED), LeaseAction.RESUME),
    "but first renews": (
        replace(ACTIVE, child=ProcessState.PAUSED, held=held(renewed=NOW - 10, sure_until=NOW - 5)),
        LeaseAction.RENEW,
    ),
    "connects again": (replace(ACTIVE, connected=False, tried=NOW - 1), LeaseAction.CONNECT),
    "stops it when a hand-over was asked for": (replace(ACTIVE, held=held(requested=True)), LeaseAction.STOP),
    "stops it when asked to end": (replace(ACTIVE, stopping=True), LeaseAction.STOP),
    "waits for its end": (replace(ACTIVE, stopping=True, child=ProcessState.STOPPING), LeaseAction.WAIT),
    "kills one that ends too slowly for the lease": (
        replace(ACTIVE, child=ProcessState.STOPPING, held=held(sure_until=NOW)),
        LeaseAction.KILL,
    ),
    "kills a paused one when asked to end": (
        replace(ACTIVE, stopping=True, child=ProcessState.PAUSED),
        LeaseAction.KILL,
    ),
    "gives the lease back when it has ended": (replace(ACTIVE, child=ProcessState.ABSENT), LeaseAction.RELEASE),
    "or lets it run out": (replace(ACTIVE, child=ProcessState.ABSENT, connected=False), LeaseAction.FORGET),
    "kills one that hangs": (replace(ACTIVE, held=held(beat_seen=NOW - HUNG_AFTER_S - 1)), LeaseAction.KILL),
    "but not one that has only just gone on": (
        replace(ACTIVE, held=held(beat_seen=None, running_since=NOW - 1)),
        LeaseAction.WAIT,
    ),
    "nor one that went on after an outage and is slow to beat": (
        replace(ACTIVE, held=held(beat_seen=None, running_since=NOW - 2 * HUNG_AFTER_S)),
        LeaseAction.WAIT,
    ),
    "but kills it when it never does": (
        replace(ACTIVE, held=held(beat_seen=None, running_since=NOW - 3 * HUNG_AFTER_S - 1)),
        LeaseAction.KILL,
    ),
    "gives a new one time for its first heartbeat": (
        replace(ACTIVE, held=held(beat=None, beat_seen=None, running_since=NOW - HUNG_AFTER_S - 1)),
        LeaseAction.WAIT,
    ),
}


@pytest.mark.parametrize(("seen", "do"), STANDBY_CASES.values(), ids=STANDBY_CASES.keys())
def test_a_standby(seen: LeaseObservation, do: LeaseAction) -> None:
    decision = decide(seen)
    assert decision.do is do, decision.why


@pytest.mark.parametrize(("seen", "do"), ACTIVE_CASES.values(), ids=ACTIVE_CASES.keys())
def test_an_active_one(seen: LeaseObservation, do: LeaseAction) -> None:
    decision = decide(seen)
    assert decision.do is do, decision.why


def test_a_wait_without_a_connection_ends_before_the_lease_is_unsure() -> None:
    decision = decide(replace(ACTIVE, connected=False, tried=NOW, held=held(sure_until=NOW + 0.05)))
    assert (decision.do, round(decision.wait_s, 3)) == (LeaseAction.WAIT, 0.05)


def test_a_scheduler_stops_before_anybody_may_take_its_lease() -> None:
    renewed = HELD.renew(NOW, requested=False, beat="b")
    assert renewed.sure_until == NOW + TTL_S - MARGIN_S < NOW + TTL_S


@pytest.mark.parametrize("ahead_s", [-600.0, -30.0, 0.0, 30.0, 600.0])
def test_a_scheduler_is_judged_by_the_guardians_clock_whatever_its_own_says(ahead_s: float) -> None:
    """Beats of a host whose clock is wrong, and a step of that clock in between; then it hangs."""
    now = NOW
    holder = replace(HELD, beat=None, beat_seen=None).go_on(now)
    while now < NOW + 300:
        step = ahead_s if now > NOW + 100 else 0.0
        holder = holder.renew(now, requested=False, beat=str(now // 5 * 5 + step))
        assert decide(replace(ACTIVE, now=now, held=holder)).do is not LeaseAction.KILL
        now += RENEW_EVERY_S
    hung = now
    while decide(replace(ACTIVE, now=now, held=holder)).do is not LeaseAction.KILL:
        now += RENEW_EVERY_S
        holder = holder.renew(now, requested=False, beat="the last")
        assert now < hung + HUNG_AFTER_S + 10
    assert now >= hung + HUNG_AFTER_S - 5


def test_a_beat_of_before_is_no_sign_of_a_scheduler_that_goes_on() -> None:
    gone_on = replace(HELD, beat="old", beat_seen=NOW - 1).go_on(NOW)
    assert gone_on.renew(NOW + 1, requested=False, beat="old").beat_seen is None

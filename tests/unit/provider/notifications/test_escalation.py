"""Who is notified of what and when: single cases, and properties that hold in every invented history."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airfleet_provider.contract.alert_schema import NotificationKind, Severity
from airfleet_provider.contract.notification_policy import (
    EscalationRule,
    EscalationStep,
    Matcher,
    NotificationPolicy,
    QuietHours,
    Receiver,
    ReceiverType,
    read,
)
from airfleet_provider.notifications.escalation import (
    Acknowledgement,
    ActiveSilence,
    Notification,
    OpenAlert,
    decide,
    find_due,
)

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BERLIN = QuietHours("22:00", "07:00", "Europe/Berlin")
RECEIVERS = tuple(Receiver(name, ReceiverType.WEBHOOK) for name in ("team", "lead", "pager"))
CHAIN = EscalationRule(
    match=Matcher(severity=Severity.WARNING),
    steps=(EscalationStep(("team",)), EscalationStep(("lead", "pager"), after_s=600)),
    repeat_s=3600,
    quiet_hours=BERLIN,
)
POLICY = NotificationPolicy(
    receivers=RECEIVERS,
    escalation=(EscalationRule(match=Matcher(labels={"dag_id": "test_.*"})), CHAIN, EscalationRule()),
)


def make_alert(
    number: int = 1, *, severity: Severity = Severity.WARNING, since: datetime = NOON, **labels: str
) -> OpenAlert:
    return OpenAlert(number, "prometheus", "DiskFull", severity, labels, since)


@dataclass
class Play:
    """The rows of a database, to which `tick` adds what is decided at a moment."""

    alerts: dict[int, OpenAlert] = field(default_factory=dict)
    acknowledgements: list[Acknowledgement] = field(default_factory=list)
    silences: list[ActiveSilence] = field(default_factory=list)
    written: list[Notification] = field(default_factory=list)
    policy: NotificationPolicy = POLICY

    def tick(self, now: datetime) -> list[tuple[str, NotificationKind]]:
        decided = self.decide(now)
        assert len({one.key for one in (*self.written, *decided)}) == len(self.written) + len(decided)
        self.written += decided
        return [(one.receiver, one.kind) for one in decided]

    def decide(self, now: datetime) -> tuple[Notification, ...]:
        return decide(self.alerts.values(), self.acknowledgements, self.silences, self.written, self.policy, now)

    def end(self, number: int, at: datetime) -> None:
        self.alerts[number] = replace(self.alerts[number], resolved_at=at)


def start(alert: OpenAlert | None = None, **more: Any) -> Play:  # noqa: ANN401
    return Play(alerts={1: alert or make_alert()}, **more)


FIRING, REMINDER, RESOLVED = NotificationKind.FIRING, NotificationKind.REMINDER, NotificationKind.RESOLVED


def test_who_comes_next_is_notified_when_nobody_acknowledges_and_then_all_again() -> None:
    play = start()
    assert play.tick(NOON) == [("team", FIRING)]
    assert play.tick(NOON + 9 * MINUTE) == []
    assert play.tick(NOON + 10 * MINUTE) == [("lead", FIRING), ("pager", FIRING)]
    assert play.tick(NOON + 69 * MINUTE) == []
    assert play.tick(NOON + 70 * MINUTE) == [("team", REMINDER)]
    assert play.tick(NOON + 80 * MINUTE) == [("lead", REMINDER), ("pager", REMINDER)]


def test_an_acknowledgement_stops_the_steps_and_the_end_is_still_reported() -> None:
    play = start()
    play.tick(NOON)
    play.acknowledgements.append(Acknowledgement(1, NOON + MINUTE))
    assert play.tick(NOON + 600 * MINUTE) == []
    play.end(1, NOON + 601 * MINUTE)
    assert play.tick(NOON + 602 * MINUTE) == [("team", RESOLVED)]
    assert play.tick(NOON + 603 * MINUTE) == []


def test_a_higher_severity_begins_again_although_the_lower_was_acknowledged() -> None:
    play = start()
    play.tick(NOON)
    play.acknowledgements.append(Acknowledgement(1, NOON + MINUTE))
    play.alerts[1] = replace(play.alerts[1], severity=Severity.CRITICAL, severity_at=NOON + 2 * MINUTE)
    assert play.tick(NOON + 3 * MINUTE) == [("team", FIRING)]
    play.alerts[1] = replace(play.alerts[1], severity=Severity.WARNING)
    assert play.tick(NOON + 4 * MINUTE) == []


def test_what_fired_and_healed_unseen_is_reported_to_the_first() -> None:
    play = start()
    play.end(1, NOON + MINUTE)
    assert play.tick(NOON + 20 * MINUTE) == [("team", FIRING), ("team", RESOLVED)]
    assert play.tick(NOON + 60 * MINUTE) == []


def test_after_a_pause_of_the_notifier_the_first_still_has_the_time_to_acknowledge() -> None:
    play = start()
    assert play.tick(NOON + 60 * MINUTE) == [("team", FIRING)]
    assert play.tick(NOON + 61 * MINUTE) == []
    assert play.tick(NOON + 70 * MINUTE) == [("lead", FIRING), ("pager", FIRING)]


def test_a_silence_begins_no_step_and_what_still_fires_at_its_end_is_reported() -> None:
    play = start()
    play.silences.append(ActiveSilence(Matcher(name="Disk.*"), NOON, NOON + 30 * MINUTE))
    assert play.tick(NOON + MINUTE) == []
    assert play.tick(NOON + 30 * MINUTE) == [("team", FIRING)]


def test_what_fired_and_healed_in_a_silence_is_not_reported() -> None:
    play = start()
    play.silences.append(ActiveSilence(Matcher(), NOON, NOON + 30 * MINUTE))
    play.end(1, NOON + MINUTE)
    assert play.tick(NOON + 2 * MINUTE) == []


def test_low_severities_wait_for_the_morning_and_high_ones_do_not() -> None:
    night = datetime(2026, 11, 24, 23, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    play = start(make_alert(since=night))
    assert play.tick(night) == [("team", FIRING)]
    assert play.written[0].due_at == datetime(2026, 11, 25, 6, 0, tzinfo=UTC)
    assert play.tick(night + timedelta(hours=5)) == []
    urgent = start(make_alert(since=night, severity=Severity.CRITICAL))
    urgent.tick(night)
    assert urgent.written[0].due_at == night


@pytest.mark.parametrize(
    ("day", "morning"),
    [((2026, 3, 28), "2026-03-29T05:00:00+00:00"), ((2026, 10, 24), "2026-10-25T06:00:00+00:00")],
    ids=["clocks go forward", "clocks go back"],
)
def test_quiet_hours_end_by_the_clock_on_the_wall(day: tuple[int, int, int], morning: str) -> None:
    night = datetime(*day, 23, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert find_due(BERLIN, Severity.WARNING, night).isoformat() == morning


def test_quiet_hours_of_one_day() -> None:
    siesta = QuietHours("13:00", "15:00")
    assert find_due(siesta, Severity.INFO, NOON) == NOON
    assert find_due(siesta, Severity.INFO, NOON + 90 * MINUTE) == NOON + 180 * MINUTE
    assert find_due(siesta, Severity.INFO, NOON + 180 * MINUTE) == NOON + 180 * MINUTE


def test_the_first_rule_that_fits_decides_and_may_notify_nobody() -> None:
    assert start(make_alert(dag_id="test_orders")).tick(NOON) == []
    assert start(make_alert(dag_id="orders")).tick(NOON) == [("team", FIRING)]
    assert start(make_alert(severity=Severity.INFO)).tick(NOON) == []


def test_without_a_rule_that_fits_every_receiver_learns_of_warnings() -> None:
    policy = NotificationPolicy(receivers=RECEIVERS)
    assert {name for name, _ in start(policy=policy).tick(NOON)} == {"team", "lead", "pager"}
    assert start(make_alert(severity=Severity.INFO), policy=policy).tick(NOON) == []


def test_who_wants_no_end_gets_none() -> None:
    receivers = (*RECEIVERS[1:], replace(RECEIVERS[0], send_resolved=False))
    play = start(policy=replace(POLICY, receivers=receivers))
    play.tick(NOON)
    play.end(1, NOON + MINUTE)
    assert play.tick(NOON + 2 * MINUTE) == []


def test_the_policy_survives_its_way_through_json() -> None:
    assert read(POLICY.to_json()) == POLICY


def test_a_policy_prints_no_secret() -> None:
    receiver = Receiver("team", ReceiverType.SLACK, url="https://hooks/S3CRET", secret="S3CRET")
    assert "S3CRET" not in repr(
        NotificationPolicy(receivers=(receiver,), link_key="S3CRET", webhook_tokens=("S3CRET",), ping_url="S3CRET")
    )


@dataclass(frozen=True)
class Event:
    """Something that happens to alert `number` at `at`."""

    at: datetime
    what: str
    number: int


def invent(random_: random.Random) -> list[Event]:
    """Invent two days of alerts: each fires, and may get worse, be acknowledged and end, in this order or another."""
    events = []
    for number in range(1, random_.randint(2, 8)):
        begun = NOON + MINUTE * random_.uniform(0, 1440)
        events.append(Event(begun, "fire", number))
        for what, share in (("worsen", 0.3), ("acknowledge", 0.4), ("end", 0.7)):
            if random_.random() < share:
                events.append(Event(begun + MINUTE * random_.expovariate(1 / 120), what, number))
    return sorted(events, key=lambda one: one.at)


def happen(play: Play, event: Event) -> None:
    alert = play.alerts.get(event.number)
    match event.what:
        case "fire":
            play.alerts[event.number] = make_alert(event.number, since=event.at)
        case "worsen" if alert and alert.resolved_at is None:
            play.alerts[event.number] = replace(alert, severity=Severity.CRITICAL, severity_at=event.at)
        case "acknowledge" if alert and alert.resolved_at is None:
            play.acknowledgements.append(Acknowledgement(event.number, event.at))
        case "end" if alert and alert.resolved_at is None:
            play.end(event.number, event.at)


@dataclass(frozen=True)
class Written:
    """A notification, and the moment at which it was decided."""

    at: datetime
    one: Notification


def run(events: Sequence[Event], moments: Iterable[datetime]) -> tuple[Play, list[Written]]:
    play, waiting, history = Play(), list(events), []
    for now in moments:
        while waiting and waiting[0].at <= now:
            happen(play, waiting.pop(0))
        before = len(play.written)
        play.tick(now)
        history += [Written(now, one) for one in play.written[before:]]
    return play, history


@pytest.mark.parametrize("seed", range(25))
def test_in_every_history(seed: int) -> None:
    random_ = random.Random(seed)
    events = invent(random_)
    moments, now = [], NOON
    while now < NOON + 3000 * MINUTE:
        # Mostly every minute, sometimes after an outage of hours.
        now += MINUTE * (random_.uniform(0.1, 3) if random_.random() < 0.99 else random_.uniform(60, 400))
        moments.append(now)
    play, history = run(events, moments)

    # Deciding again adds only what has become due: one more step at most for each alert.
    again = play.decide(moments[-1])
    assert len({(one.alert, one.step, one.round) for one in again}) <= len(play.alerts)
    for number, alert in play.alerts.items():
        own = [one for one in history if one.one.alert == number]
        begun = [one for one in own if one.one.kind is not RESOLVED]
        ended = [one for one in own if one.one.kind is RESOLVED]
        acknowledged = [one.at for one in play.acknowledgements if one.alert == number]

        # Everybody who was notified learns of the end, once, and nobody else does.
        if alert.resolved_at:
            assert sorted(one.one.receiver for one in ended) == sorted({one.one.receiver for one in begun})
        else:
            assert not ended
        # Nobody learns of nothing, unless somebody had acknowledged it before.
        assert begun or acknowledged
        for one in begun:
            # Nothing begins after an acknowledgement of this severity, or after the end; but the first step does.
            assert not any(datetime.fromtimestamp(one.one.chain / 1e6, UTC) <= at <= one.at for at in acknowledged)
            is_first = (one.one.round, one.one.step) == (0, 0)
            assert alert.resolved_at is None or one.at <= alert.resolved_at or is_first
            # Each waits its time after the one before it was due.
            if one.one.step == 1:
                before = [
                    other.one.due_at
                    for other in begun
                    if (other.one.chain, other.one.round, other.one.step) == (one.one.chain, one.one.round, 0)
                ]
                assert before
                assert one.at >= max(before) + 10 * MINUTE
        # A warning disturbs nobody's sleep.
        for one in own:
            hour = one.one.due_at.astimezone(ZoneInfo("Europe/Berlin")).hour
            assert alert.severity is Severity.CRITICAL or 7 <= hour < 22


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_alerts_changes_nothing(seed: int) -> None:
    random_ = random.Random(seed)
    play, _ = run(invent(random_), [NOON + 30 * step * MINUTE for step in range(100)])
    shuffled = replace(
        play,
        alerts=dict(random_.sample(list(play.alerts.items()), len(play.alerts))),
        written=random_.sample(play.written, len(play.written)),
    )
    later = NOON + 3200 * MINUTE
    assert {one.key for one in play.decide(later)} == {one.key for one in shuffled.decide(later)}


@pytest.mark.parametrize("seed", range(25))
def test_the_last_notifications_say_as_much_as_all_of_them(seed: int) -> None:
    """The outbox reads no others, so that an alert that is repeated for weeks costs no more than a new one."""
    play, last = Play(), Play()
    events = invent(random.Random(seed))
    for now in (NOON + 7 * step * MINUTE for step in range(400)):
        while events and events[0].at <= now:
            event = events.pop(0)
            happen(play, event)
            happen(last, event)
        before = len(last.written)
        assert play.tick(now) == last.tick(now)
        assert play.written[-(len(last.written) - before) :] == last.written[before:] or len(last.written) == before
        last.written = list({(one.alert, one.receiver, one.kind): one for one in last.written}.values())

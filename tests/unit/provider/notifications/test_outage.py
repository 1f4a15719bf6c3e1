"""People learn of an outage of the database from the agents themselves, once."""

from __future__ import annotations

from dataclasses import replace

from airfleet_provider.contract.notification_policy import (
    EscalationRule,
    EscalationStep,
    Matcher,
    NotificationPolicy,
    Receiver,
    ReceiverType,
)
from airfleet_provider.notifications import formats
from airfleet_provider.notifications.channels import DeliveryOutcome, DeliveryVerdict
from airfleet_provider.notifications.messages import Message
from airfleet_provider.notifications.outage import AFTER_S, OutageWatch

TEAM = Receiver("team", ReceiverType.SLACK, url="https://hooks.example.com")
PAGER = Receiver("pager", ReceiverType.PAGERDUTY, secret="k3y")
POLICY = NotificationPolicy(fleet="flights", receivers=(TEAM, PAGER))


class Play:
    """The watch, with a clock, and what was sent."""

    def __init__(self, policy: NotificationPolicy = POLICY) -> None:
        self.now = 0.0
        self.sent: list[tuple[str, Message]] = []
        self.verdicts: dict[str, DeliveryVerdict] = {}
        self.watch = OutageWatch(
            policy, "web1", send=self.send, clock=lambda: self.now, wall=lambda: self.now + 1_800_000_000.0
        )

    def send(self, message: Message, receiver: Receiver) -> DeliveryOutcome:
        self.sent.append((receiver.name, message))
        return DeliveryOutcome(self.verdicts.get(receiver.name, DeliveryVerdict.SENT))

    def pass_time(self, seconds: float, *, is_reached: bool) -> list[str]:
        """Return who got a message, in turns of ten seconds."""
        before, end = len(self.sent), self.now + seconds
        while self.now < end:
            self.now += 10.0
            self.watch.note(is_reached=is_reached)
        return sorted(name for name, _ in self.sent[before:])


def test_a_short_outage_such_as_a_failover_is_not_reported() -> None:
    play = Play()
    assert play.pass_time(60, is_reached=True) == []
    assert play.pass_time(AFTER_S - 10, is_reached=False) == []
    assert play.pass_time(60, is_reached=True) == []


def test_an_outage_and_its_end_are_reported_once_to_each() -> None:
    play = Play()
    assert play.pass_time(900, is_reached=False) == ["pager", "team"]
    assert play.pass_time(900, is_reached=True) == ["pager", "team"]
    begin, end = (formats.make_pagerduty(message, PAGER) for name, message in play.sent if name == "pager")
    assert (begin["event_action"], end["event_action"]) == ("trigger", "resolve")
    assert begin["dedup_key"] == end["dedup_key"]
    (first, last) = (message.subject for name, message in play.sent if name == "team")
    assert first.startswith("[firing] critical: MetadataDatabaseDown: the agents on web1 do not reach")
    assert last.startswith("[resolved] critical: MetadataDatabaseDown: the agents on web1 reach")
    assert play.pass_time(300, is_reached=False) == ["pager", "team"]


def test_who_was_not_reached_gets_it_later() -> None:
    play = Play()
    play.verdicts["team"] = DeliveryVerdict.UNSENT
    play.pass_time(300, is_reached=False)
    play.verdicts.clear()
    assert play.pass_time(300, is_reached=False) == ["team"]


def test_the_first_step_of_the_rule_that_fits_says_who() -> None:
    rule = EscalationRule(
        match=Matcher(source="airfleet"), steps=(EscalationStep(("pager",)), EscalationStep(("team",), 60.0))
    )
    assert Play(replace(POLICY, escalation=(rule,))).pass_time(900, is_reached=False) == ["pager"]
    assert Play(replace(POLICY, escalation=(EscalationRule(),))).pass_time(900, is_reached=False) == []
    assert Play(NotificationPolicy()).pass_time(900, is_reached=False) == []


def test_an_agents_process_that_was_restarted_closes_the_incident_of_the_one_before() -> None:
    first, second = Play(), Play()
    first.pass_time(300, is_reached=False)
    second.pass_time(300, is_reached=False)
    second.pass_time(300, is_reached=True)
    [opened, closed] = (
        formats.make_pagerduty([message for name, message in play.sent if name == "pager"][-1], PAGER)
        for play in (first, second)
    )
    assert (closed["event_action"], closed["dedup_key"]) == ("resolve", opened["dedup_key"])

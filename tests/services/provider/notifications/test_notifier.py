"""From a row of `airfleet.alert` to the receiver, on a real PostgreSQL and with real receivers that fail."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from airfleet_provider.contract import alert_schema
from airfleet_provider.contract.notification_policy import (
    EscalationRule,
    EscalationStep,
    Matcher,
    NotificationPolicy,
)
from airfleet_provider.notifications import notifier as notifier_module
from airfleet_provider.notifications import outbox
from airfleet_provider.notifications.notifier import Notifier
from deadline import wait_until
from notifiers import Database, fire, heal, list_statuses, pager, read_states, run_for_a_while, settle, webhook
from receivers import Answer, HttpReceiver, MailReceiver, mail_to, serve_http

pytestmark = pytest.mark.usefixtures("short_rests")


def test_an_alert_reaches_a_person_and_so_does_its_end(database: Database, mail: MailReceiver) -> None:
    notifier = Notifier(NotificationPolicy(receivers=(mail_to(mail),)))
    fire(database, "DiskFull")
    settle(notifier, database)
    heal(database, "DiskFull")
    settle(notifier, database)
    subjects = [one["Subject"] for one in mail.mails]
    assert subjects == [
        "[firing] warning: DiskFull: DiskFull is wrong (airfleet)",
        "[resolved] warning: DiskFull: DiskFull is wrong (airfleet)",
    ]
    settle(notifier, database)
    assert len(mail.mails) == 2


def test_after_an_outage_everything_arrives_once_also_what_fired_and_healed_meanwhile(
    database: Database, http: HttpReceiver, mail: MailReceiver
) -> None:
    notifier = Notifier(NotificationPolicy(receivers=(webhook(http), mail_to(mail))), random_=random.Random(1))
    fire(database, "Before")
    settle(notifier, database)
    http.stop()
    mail.stop()
    for number in range(100):
        fire(database, f"Still{number}")
        fire(database, f"Healed{number}")
    run_for_a_while(notifier, database)
    for number in range(100):
        heal(database, f"Healed{number}")
    heal(database, "Before")
    run_for_a_while(notifier, database)
    assert read_states(database)["pending"] > 0
    http.start()
    mail.start()
    settle(notifier, database)
    assert list_statuses(http) == {
        ("Before", "firing"): 1,
        ("Before", "resolved"): 1,
        **{(f"Still{number}", "firing"): 1 for number in range(100)},
        **{(f"Healed{number}", "fired and resolved"): 1 for number in range(100)},
    }
    # A digest, and no storm of messages.
    assert len(http.taken) <= 6
    assert len(mail.mails) <= 6
    texts = "\n".join(body.get_content() for one in mail.mails if (body := one.get_body(("plain",))))
    assert all(texts.count(f"Still{number} is wrong") == 1 for number in range(100))
    assert all(texts.count(f"Healed{number} is wrong") == 1 for number in range(100))


def test_a_receiver_that_is_down_delays_no_other(database: Database, http: HttpReceiver) -> None:
    with serve_http() as down:
        down.stop()
        notifier = Notifier(NotificationPolicy(receivers=(webhook(down, "down"), webhook(http))))
        fire(database, "DiskFull")
        run_for_a_while(notifier, database)
        assert list_statuses(http) == {("DiskFull", "firing"): 1}


def test_answers_that_leave_it_open_are_followed_by_the_same_message(database: Database, http: HttpReceiver) -> None:
    notifier = Notifier(NotificationPolicy(receivers=(webhook(http),)))
    http.answers = [Answer(500), Answer(is_silent=True), Answer(429), Answer(503, {"Retry-After": "0"})]
    fire(database, "DiskFull")
    settle(notifier, database)
    assert len(http.requests) == 5
    assert len({one.headers["Idempotency-Key"] for one in http.requests}) == 1
    assert len({one.body["key"] for one in http.requests}) == 1


def test_a_receiver_of_single_events_gets_one_after_the_other_in_one_turn(
    database: Database, http: HttpReceiver
) -> None:
    notifier = Notifier(NotificationPolicy(receivers=(pager(http),)), clock=lambda: 0.0)
    for number in range(30):
        fire(database, f"Alert{number}")
    notifier.once(database)
    assert len({one.body["dedup_key"] for one in http.taken}) == 30
    assert read_states(database) == {"sent": 30}


def test_a_message_that_never_gets_an_answer_lets_others_pass(
    database: Database, http: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(body: dict[str, Any]) -> Answer:
        return Answer(500) if any(one["name"] == "Poison" for one in body["alerts"]) else Answer()

    notifier = Notifier(NotificationPolicy(receivers=(webhook(http),)))
    http.judge = judge
    fire(database, "Poison")

    def is_tried() -> bool:
        notifier.once(database)
        return len(http.requests) >= 3

    wait_until(is_tried, "three attempts")
    fire(database, "B")

    def has_passed() -> bool:
        notifier.once(database)
        return list_statuses(http) == {("B", "firing"): 1}

    wait_until(has_passed, "the message behind it")
    monkeypatch.setattr(outbox, "GIVE_UP_S", 0.0)
    monkeypatch.setattr(outbox, "LONGEST_WAIT_S", 0.0)
    settle(notifier, database)
    assert read_states(database) == {"sent": 1, "failed": 1}


def test_a_receiver_rests_as_long_as_it_asks_to(database: Database, http: HttpReceiver) -> None:
    now = [1000.0]
    notifier = Notifier(NotificationPolicy(receivers=(webhook(http),)), clock=lambda: now[0])
    http.answers = [Answer(429, {"Retry-After": "30"})]
    fire(database, "DiskFull")
    run_for_a_while(notifier, database)
    now[0] += 29.0
    run_for_a_while(notifier, database)
    assert len(http.requests) == 1
    now[0] += 2.0
    run_for_a_while(notifier, database)
    assert len(http.taken) == 1


def test_one_message_that_is_refused_holds_up_no_other(database: Database, http: HttpReceiver) -> None:
    notifier = Notifier(NotificationPolicy(receivers=(webhook(http),)))
    for name in ("A", "Poison", "B"):
        fire(database, name)
    http.judge = lambda body: Answer(400) if any(one["name"] == "Poison" for one in body["alerts"]) else Answer()
    settle(notifier, database)
    assert list_statuses(http) == {("A", "firing"): 1, ("B", "firing"): 1}
    assert read_states(database) == {"sent": 2, "failed": 1}


def test_the_second_person_is_notified_unless_the_first_acknowledges(database: Database, http: HttpReceiver) -> None:
    with serve_http() as lead:
        policy = NotificationPolicy(
            receivers=(webhook(http, "team"), webhook(lead, "lead")),
            escalation=(EscalationRule(steps=(EscalationStep(("team",)), EscalationStep(("lead",), after_s=3600.0))),),
        )
        notifier = Notifier(policy)
        fire(database, "Ignored")
        seen = fire(database, "Seen")
        settle(notifier, database)
        database.connection.execute(
            "INSERT INTO airfleet.acknowledgement (alert, actor, via) VALUES (%s, 'ada', 'test')", (seen,)
        )

        # An hour passes.
        database.connection.execute("UPDATE airfleet.notification SET due_at = due_at - interval '1 h'")
        settle(notifier, database)
        assert list_statuses(lead) == {("Ignored", "firing"): 1}


def test_a_silence_in_the_database_holds(database: Database, http: HttpReceiver) -> None:
    database.connection.execute(
        "INSERT INTO airfleet.silence (matchers, actor, ends_at) VALUES (%s, 'ada', now() + interval '1 h')",
        (json.dumps({"name": "Disk.*", "severity": "info"}),),
    )
    fire(database, "DiskFull")
    fire(database, "Other")
    settle(Notifier(NotificationPolicy(receivers=(webhook(http),))), database)
    assert list_statuses(http) == {("Other", "firing"): 1}


def report_undelivered(
    down: HttpReceiver, database: Database, http: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> Notifier:
    """Stop a receiver until another one has the alert about it; return the notifier."""
    monkeypatch.setattr(notifier_module, "OVERDUE_S", 0.05)
    monkeypatch.setattr(notifier_module, "CARE_EVERY_S", 0.0)
    down.stop()
    notifier = Notifier(NotificationPolicy(receivers=(webhook(down, "down"), webhook(http))))
    fire(database, "DiskFull")

    def is_reported() -> bool:
        notifier.once(database)
        return ("NotificationsUndelivered", "firing") in list_statuses(http)

    wait_until(is_reported, "the alert about the receiver", every_s=0.02)
    return notifier


def test_a_receiver_that_gets_nothing_for_long_is_an_alert_of_its_own(
    database: Database, http: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_http() as down:
        notifier = report_undelivered(down, database, http, monkeypatch)
        monkeypatch.setattr(notifier_module, "OVERDUE_S", 600.0)
        down.start()
        settle(notifier, database)
        run_for_a_while(notifier, database)
        settle(notifier, database)
        found = list_statuses(http)
        assert found["NotificationsUndelivered", "resolved"] == found["NotificationsUndelivered", "firing"]


def test_notifications_for_a_receiver_that_is_gone_from_fleet_yaml_are_given_up(
    database: Database, http: HttpReceiver
) -> None:
    http.stop()
    fire(database, "DiskFull")
    run_for_a_while(Notifier(NotificationPolicy(receivers=(webhook(http, "former"),))), database)
    run_for_a_while(
        Notifier(NotificationPolicy(receivers=(webhook(http, "other"),), escalation=(EscalationRule(),))), database
    )
    assert read_states(database) == {"failed": 1}


def test_the_alert_about_a_receiver_ends_when_fleet_yaml_has_the_receiver_no_more(
    database: Database, http: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_http() as down:
        report_undelivered(down, database, http, monkeypatch)
    repaired = Notifier(NotificationPolicy(receivers=(webhook(http),)))
    run_for_a_while(repaired, database)
    settle(repaired, database)
    assert list_statuses(http)["NotificationsUndelivered", "resolved"] == 1


def test_an_alert_that_was_repeated_for_weeks_costs_no_more_than_a_new_one(database: Database) -> None:
    number = fire(database, "DiskFull")
    for step in range(50):
        database.connection.execute(
            "INSERT INTO airfleet.notification (key, alert, receiver, kind, state) VALUES (%s, %s, 'hook', %s, 'sent')",
            (f"{number}.1.{step}.0.hook", number, "reminder" if step else "firing"),
        )
    rows = database.connection.execute(outbox.SQL["written"], {"alerts": [number]}).fetchall()
    assert sorted(row["key"] for row in rows) == [f"{number}.1.0.0.hook", f"{number}.1.49.0.hook"]


def test_matching_by_labels_and_source(database: Database, http: HttpReceiver) -> None:
    rule = EscalationRule(match=Matcher(source="sla", labels={"team": "finance"}), steps=(EscalationStep(("hook",)),))
    policy = NotificationPolicy(receivers=(webhook(http),), escalation=(rule, EscalationRule()))
    for name, source, team in (("A", "sla", "finance"), ("B", "sla", "sales"), ("C", "test", "finance")):
        alert_schema.raise_alert(
            database.connection,
            fingerprint=name,
            source=source,
            name=name,
            severity="warning",
            summary="",
            labels={"team": team},
        )
    settle(Notifier(policy), database)
    assert list_statuses(http) == {("A", "firing"): 1}

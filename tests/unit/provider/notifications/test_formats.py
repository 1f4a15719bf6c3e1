"""Messages in each format, with texts that a Dag's author or an attacker chose."""

from __future__ import annotations

import json
from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any, cast

import pytest

from airfleet_provider.contract import alert_links
from airfleet_provider.contract.alert_links import BadLinkError, Capability
from airfleet_provider.contract.alert_schema import NotificationKind
from airfleet_provider.contract.notification_policy import NotificationPolicy, Receiver, ReceiverType
from airfleet_provider.notifications import formats
from airfleet_provider.notifications.messages import Message, MessageEntry, Status, compose
from invented_alerts import NOON, make_entry

POLICY = NotificationPolicy(fleet="flights", base_url="https://airflow.example.com", link_key="a key")
MAIL = Receiver("team", ReceiverType.EMAIL, to=("team@example.com",), sender="airfleet@example.com", host="smtp")
PAGER = Receiver("pager", ReceiverType.PAGERDUTY, secret="R0UTING")
HOSTILE = 'x\r\nBcc: all@example.com\r\n\r\n<script>alert(1)</script> <!channel> <@U123> & "q" [a](http://evil)'


def make_message(*entries: MessageEntry, is_repeated: bool = False) -> Message:
    return compose(entries or (make_entry(),), POLICY, MAIL, now=NOON.timestamp(), is_repeated=is_repeated)


def test_a_mail_says_it_in_text_and_in_html_with_a_link_to_acknowledge() -> None:
    mail = formats.make_mail(make_message(), MAIL)
    assert mail["Subject"] == "[firing] critical: DiskFull: web1: 95 % full (flights)"
    assert mail["To"] == "team@example.com"
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    for part in (text.get_content(), html.get_content()):
        assert "web1: 95 % full" in part
        assert "https://airflow.example.com/airfleet/acknowledge/?token=" in part
        assert "https://example.com/disk" in part


def test_a_mail_that_is_sent_again_has_the_same_message_id_and_says_so() -> None:
    first = formats.make_mail(make_message(), MAIL)
    again = formats.make_mail(make_message(is_repeated=True), MAIL)
    assert first["Message-ID"] == again["Message-ID"]
    body = again.get_body(("plain",))
    assert body is not None
    assert "may be a repetition" in body.get_content()
    assert formats.make_mail(make_message(make_entry(2)), MAIL)["Message-ID"] != first["Message-ID"]


@pytest.mark.parametrize("place", ["name", "summary", "description", "labels", "runbook"])
def test_no_text_adds_a_header_or_markup_to_a_mail(place: str) -> None:
    value = {HOSTILE: HOSTILE} if place == "labels" else HOSTILE
    sent = formats.make_mail(make_message(make_entry(**cast(Any, {place: value}))), MAIL).as_bytes()
    mail = message_from_bytes(sent, policy=policy.default)
    assert mail["Bcc"] is None
    assert set(mail.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "References"),
        *("MIME-Version", "Content-Type"),
    }
    html = mail.get_body(("html",))
    assert html is not None
    assert "<script>" not in html.get_content()


@pytest.mark.parametrize("place", ["name", "summary", "description"])
def test_no_text_mentions_anybody_in_slack(place: str) -> None:
    text = formats.make_slack(make_message(make_entry(**cast(Any, {place: HOSTILE}))))["text"]
    assert "<!channel>" not in text
    assert "<@U123>" not in text
    assert "&lt;!channel&gt;" in text


def test_slack_runbooks_cannot_change_the_name_of_their_link() -> None:
    text = formats.make_slack(make_message(make_entry(runbook="https://x/|free money")))["text"]
    assert "free money" not in text.split("Runbook")[0].rpartition("|")[2]
    assert text.count("|Runbook>") == 1


def test_teams_gets_a_card_of_text_runs_that_know_no_markup() -> None:
    card = formats.make_teams(make_message(make_entry(summary=HOSTILE)))["attachments"][0]["content"]
    kinds = {one["type"] for one in card["body"]}
    assert kinds == {"RichTextBlock", "ActionSet"}
    assert len(json.dumps(card)) < 28_000


def test_pagerduty_gets_one_incident_for_one_alert_from_its_begin_to_its_end() -> None:
    begin = formats.make_pagerduty(make_message(), PAGER)
    over = make_entry(2, NotificationKind.RESOLVED, alert=1, resolved_at=NOON + timedelta(minutes=5))
    end = formats.make_pagerduty(make_message(over), PAGER)
    assert (begin["event_action"], end["event_action"]) == ("trigger", "resolve")
    assert begin["dedup_key"] == end["dedup_key"] == f"airfleet.flights.1.{int(NOON.timestamp())}"
    assert begin["payload"]["severity"] == "critical"
    assert begin["routing_key"] == "R0UTING"
    long = formats.make_pagerduty(make_message(make_entry(summary="x" * 9999, name="y" * 999)), PAGER)
    assert len(long["payload"]["summary"]) <= 1024


def test_an_alert_that_fired_and_healed_is_one_item() -> None:
    healed = NOON + timedelta(minutes=3)
    message = make_message(
        make_entry(1, resolved_at=healed),
        make_entry(2, NotificationKind.RESOLVED, alert=1, resolved_at=healed),
        make_entry(3, alert=7),
    )
    assert [item.status for item in message.items] == [Status.FIRED_AND_RESOLVED, Status.FIRING]
    assert message.subject == "[1 firing, 1 fired and resolved] flights: DiskFull"
    assert [item.acknowledge != "" for item in message.items] == [False, True]
    described = formats.make_webhook(message)["alerts"]
    assert described[0]["resolved_at"] == "2026-11-24T12:03:00+00:00"
    assert described[0]["notifications"] == ["1.1.0.0.team", "2.1.0.0.team"]


def test_a_digest_of_two_hundred_alerts_names_each_and_stays_short() -> None:
    message = make_message(*(make_entry(number, summary=f"host {number} is full") for number in range(200)))
    body = formats.make_mail(message, MAIL).get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert all(f"host {number} is full" in text for number in range(200))
    assert len(text) < 100_000
    some = make_message(*(make_entry(number, summary="x" * 9999) for number in range(formats.MOST_POSTED)))
    slack = formats.make_slack(some)["text"]
    assert len(slack) < 40_000
    assert not slack.endswith("…")


def test_a_link_names_the_run_whatever_its_id_is() -> None:
    labels = {"dag_id": "sales", "run_id": "manual__2026-11-24T12:00:00+00:00/?"}
    assert make_message(make_entry(labels=labels)).items[0].link == (
        "https://airflow.example.com/dags/sales/runs/manual__2026-11-24T12%3A00%3A00%2B00%3A00%2F%3F"
    )


def test_a_link_acknowledges_its_alert_until_it_expires() -> None:
    token = alert_links.sign(Capability(7, "team"), "key", now=1000.0)
    assert alert_links.verify(token, "key", now=1000.0 + alert_links.VALID_S) == Capability(7, "team")
    with pytest.raises(BadLinkError, match="expired"):
        alert_links.verify(token, "key", now=1002.0 + alert_links.VALID_S)


@pytest.mark.parametrize("wrong", ["", ".", "x.y", "ä.ö", "W10.", "e" * 5000])
def test_a_link_that_was_not_signed_is_refused(wrong: str) -> None:
    with pytest.raises(BadLinkError, match="not one of this fleet"):
        alert_links.verify(wrong, "key", now=1000.0)


def test_a_link_of_another_key_or_for_another_alert_is_refused() -> None:
    token = alert_links.sign(Capability(7, "team"), "key", now=1000.0)
    other = alert_links.sign(Capability(8, "team"), "key", now=1000.0)
    for wrong, key in ((token, "other"), (other.split(".")[0] + "." + token.split(".")[1], "key"), (token, "")):
        with pytest.raises(BadLinkError, match="not one of this fleet"):
            alert_links.verify(wrong, key, now=1000.0)

"""The section `notifications` of fleet.yaml: what it means, and what its errors say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airfleet.errors import SpecError, UsageError
from airfleet.spec import fleet, load
from airfleet.spec.secret_ref import SecretRef
from airfleet.workspace.project import resolve_notifications
from airfleet_provider.contract import notification_policy
from airfleet_provider.contract.alert_schema import Severity
from airfleet_provider.contract.notification_policy import (
    EscalationRule,
    EscalationStep,
    FailureRule,
    MailEncryption,
    Matcher,
    QuietHours,
    Receiver,
    ReceiverType,
)


def parse(text: str) -> fleet.Fleet:
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=8)


def parse_receiver(*lines: str) -> fleet.Fleet:
    return parse("\n".join(["notifications:", "  receivers:", "    one:", *(f"      {line}" for line in lines)]))


WHOLE = """
notifications:
  receivers:
    team:
      type: email
      to: [team@example.com, lead@example.com]
      from: airfleet@example.com
      host: smtp.example.com
      encryption: tls
      login: airfleet
      password: {env: SMTP_PASSWORD}
    channel:
      type: slack
      url: {file: secrets/slack}
    pager:
      type: pagerduty
      key: {command: [pass, show, pagerduty]}
      resolved: false
    desk:
      type: webhook
      url: https://desk.example.com/hook
      token: {env: DESK_TOKEN}
  escalation:
    - match:
        severity: critical
        labels: {dag_id: sales_.*}
      steps:
        - notify: [team, channel]
        - notify: [pager]
          after: 15m
      repeat: 4h
      quiet_hours: {from: 22:00, to: 07:00, zone: Europe/Berlin}
  failures:
    - tag: daily
      severity: critical
    - {}
  watchdog: 3m
  ping: {env: PING_URL}
"""


def test_what_a_whole_section_means() -> None:
    found = parse(WHOLE).notifications
    team, channel, pager, desk = found.receivers
    assert team.receiver == Receiver(
        name="team",
        type=ReceiverType.EMAIL,
        to=("team@example.com", "lead@example.com"),
        sender="airfleet@example.com",
        host="smtp.example.com",
        port=465,
        encryption=MailEncryption.TLS,
        login="airfleet",
    )
    assert (team.secret, team.url) == (SecretRef(env="SMTP_PASSWORD"), None)
    assert (channel.url, channel.secret) == (SecretRef(file="secrets/slack"), None)
    assert (pager.secret, pager.receiver.send_resolved) == (SecretRef(command=("pass", "show", "pagerduty")), False)
    assert (desk.receiver.url, desk.secret) == ("https://desk.example.com/hook", SecretRef(env="DESK_TOKEN"))
    assert found.policy.escalation == (
        EscalationRule(
            match=Matcher(severity=Severity.CRITICAL, labels={"dag_id": "sales_.*"}),
            steps=(EscalationStep(("team", "channel")), EscalationStep(("pager",), 900.0)),
            repeat_s=14_400.0,
            quiet_hours=QuietHours("22:00", "07:00", "Europe/Berlin", Severity.CRITICAL),
        ),
    )
    assert found.policy.failures == (FailureRule(tag="daily", severity=Severity.CRITICAL), FailureRule())
    assert (found.policy.watchdog_s, found.ping_url) == (180.0, SecretRef(env="PING_URL"))


def test_the_secrets_are_fetched_where_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "k3y")
    (tmp_path / "slack").write_text("https://hooks.slack.com/services/S3CRET\n")
    (tmp_path / "slack").chmod(0o600)
    text = """
notifications:
  receivers:
    channel: {type: slack, url: {file: slack}}
    pager: {type: pagerduty, key: {env: KEY}}
  ping: {env: KEY}
"""
    policy = resolve_notifications(parse(text), tmp_path)
    assert [(one.url, one.secret) for one in policy.receivers] == [
        ("https://hooks.slack.com/services/S3CRET", ""),
        ("", "k3y"),
    ]
    assert policy.ping_url == "k3y"
    assert notification_policy.read(json.loads(json.dumps(policy.to_json()))) == policy
    monkeypatch.delenv("KEY")
    with pytest.raises(UsageError, match=r"notifications\.receivers\.pager"):
        resolve_notifications(parse(text), tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["type: email", "to: [a@b.example]", "host: smtp"], "needs the key from"),
        (["type: slack"], "needs the key url"),
        (["type: slack", "url: https://hooks.slack.com/services/S3CRET"], "this URL is a secret"),
        (["type: webhook", "url: https://me:S3CRET@desk.example.com/"], "carries one"),
        (["type: webhook", "url: https://desk.example.com/?token=S3CRET"], "carries one"),
        (["type: webhook", "url: http://desk.example.com/", "token: {env: T}"], "without encryption"),
        (["type: pagerduty", "url: http://10.0.0.9/", "key: {env: K}"], "without encryption"),
        (["type: webhook", "url: desk.example.com"], "not the URL of a web server"),
        (["type: webhook", "url: https://x/", "host: smtp"], "has no key host"),
        (["type: sms"], "email, slack, teams, pagerduty or webhook"),
        (
            ["type: email", 'to: ["a@b.example\\nBcc: c@d.example"]', "from: a@b.example", "host: smtp"],
            "a mail address such as",
        ),
        (
            [
                *("type: email", "to: [a@b.example]", "from: a@b.example", "host: smtp", "encryption: none"),
                *("login: me", "password: {env: P}"),
            ],
            "without encryption",
        ),
        (["type: email", "to: [a@b.example]", "from: a@b.example", "host: smtp", "login: me"], "needs a password"),
    ],
)
def test_what_a_receiver_must_be(lines: list[str], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_receiver(*lines)
    assert message in str(caught.value)
    assert "S3CRET" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"])
def test_a_token_may_go_to_this_machine_without_encryption(host: str) -> None:
    parse_receiver("type: webhook", f"url: http://{host}/", "token: {env: T}")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{steps: [{notify: [nobody]}]}", "'nobody', which is no receiver"),
        ("{steps: [{notify: []}]}", "not empty"),
        ("{steps: [{notify: [one]}], repeat: 1m}", "5 minutes"),
        ("{quiet_hours: {from: 07:00, to: 07:00}}", "quiet hours"),
        ("{quiet_hours: {from: 25:00, to: 07:00}}", "a time of day"),
        ("{quiet_hours: {from: 22:00, to: 07:00, zone: Berlin}}", "unknown time zone"),
        ("{match: {labels: {dag_id: '['}}}", "not a regular expression"),
    ],
)
def test_what_a_rule_must_be(rule: str, message: str) -> None:
    text = f"notifications:\n  receivers:\n    one: {{type: webhook, url: http://x/}}\n  escalation: [{rule}]\n"
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert message in str(caught.value)

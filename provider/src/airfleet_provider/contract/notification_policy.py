"""Who is notified of which alert, when, and how: the key `notifications` of the agents' configuration.

The control side writes it from fleet.yaml, with the secrets in it. The notifier reads it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from airfleet_provider.contract.alert_schema import Severity


class ReceiverType(StrEnum):
    """The kinds of receivers."""

    EMAIL = "email"
    SLACK = "slack"
    TEAMS = "teams"
    PAGERDUTY = "pagerduty"
    WEBHOOK = "webhook"


class MailEncryption(StrEnum):
    """How a connection to a mail server is encrypted."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver. `url` is where an HTTP receiver listens; the URLs of Slack and Teams are secrets themselves.

    `secret` is the password of the mail server, the integration key of PagerDuty or the bearer token of a webhook.
    """

    name: str
    type: ReceiverType
    to: tuple[str, ...] = ()
    sender: str = ""
    host: str = ""
    port: int = 587
    encryption: MailEncryption = MailEncryption.STARTTLS
    login: str = ""
    url: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    send_resolved: bool = True
    # A file with certificates that the receiver's own must be signed by, in place of the system's.
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Matcher:
    """Which alerts: those that fit every given part. Texts are regular expressions of the whole value."""

    source: str = ""
    name: str = ""
    severity: Severity = Severity.INFO
    labels: Mapping[str, str] = field(default_factory=dict)

    def fits(self, *, source: str, name: str, severity: Severity, labels: Mapping[str, str]) -> bool:
        """Return whether an alert fits. `severity` of the matcher is the lowest that fits."""
        return (
            severity.rank >= self.severity.rank
            and (not self.source or re.fullmatch(self.source, source) is not None)
            and (not self.name or re.fullmatch(self.name, name) is not None)
            and all(re.fullmatch(pattern, labels.get(key, "")) for key, pattern in self.labels.items())
        )


@dataclass(frozen=True, slots=True)
class QuietHours:
    """The time of day in which alerts below `severity` wait until its end. `zone` is a name of the IANA database."""

    begin: str
    end: str
    zone: str = "UTC"
    severity: Severity = Severity.CRITICAL


@dataclass(frozen=True, slots=True)
class EscalationStep:
    """The receivers of one step, and how long after the step before it they are notified."""

    receivers: tuple[str, ...]
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class EscalationRule:
    """The steps for the alerts that fit. With `repeat_s`, they begin again so long after the last step."""

    match: Matcher = field(default_factory=Matcher)
    steps: tuple[EscalationStep, ...] = ()
    repeat_s: float = 0.0
    quiet_hours: QuietHours | None = None


@dataclass(frozen=True, slots=True)
class FailureRule:
    """Which failed Dag runs become alerts, and their severity. Texts are regular expressions of the whole value."""

    dag: str = ".*"
    tag: str = ""
    owner: str = ""
    severity: Severity = Severity.WARNING

    def fits(self, dag: str, tags: Sequence[str], owners: Sequence[str]) -> bool:
        """Return whether a Dag fits: its id, one of its tags, and one of its owners."""
        return (
            re.fullmatch(self.dag, dag) is not None
            and (not self.tag or any(re.fullmatch(self.tag, tag) for tag in tags))
            and (not self.owner or any(re.fullmatch(self.owner, owner) for owner in owners))
        )


@dataclass(frozen=True, slots=True)
class NotificationPolicy:
    """Everything that the notifier needs to know. Without an escalation rule that fits, every receiver is notified.

    `base_url` is where people reach Airflow. `link_key` signs the links in messages. `webhook_tokens` are those that
    Alertmanager may show. If `watchdog_s` is not 0, the watchdog alert must arrive that often. `ping_url` is requested
    every minute while alerting works.
    """

    fleet: str = "airfleet"
    base_url: str = ""
    link_key: str = field(default="", repr=False)
    webhook_tokens: tuple[str, ...] = field(default=(), repr=False)
    receivers: tuple[Receiver, ...] = ()
    escalation: tuple[EscalationRule, ...] = ()
    failures: tuple[FailureRule, ...] = ()
    watchdog_s: float = 0.0
    ping_url: str = field(default="", repr=False)

    @property
    def by_name(self) -> Mapping[str, Receiver]:
        return {one.name: one for one in self.receivers}

    def find_rule(self, *, source: str, name: str, severity: Severity, labels: Mapping[str, str]) -> EscalationRule:
        """Return the first rule that fits an alert, or the rule that notifies every receiver of warnings and worse."""
        for rule in self.escalation:
            if rule.match.fits(source=source, name=name, severity=severity, labels=labels):
                return rule
        every = tuple(one.name for one in self.receivers)
        return EscalationRule(steps=(EscalationStep(every),) if every and severity is not Severity.INFO else ())

    def to_json(self) -> dict[str, Any]:
        """Return the policy as `read` takes it. It holds the secrets."""
        return asdict(self)


def read(written: Mapping[str, Any]) -> NotificationPolicy:
    """Return the policy that `Policy.to_json` wrote.

    Raises:
        KeyError: Something required is not there.
        TypeError: There is an unknown key.
        ValueError: A value is none of those that are known.
    """
    return NotificationPolicy(
        **{
            **written,
            "webhook_tokens": tuple(written.get("webhook_tokens", ())),
            "receivers": tuple(_read_receiver(one) for one in written.get("receivers", ())),
            "escalation": tuple(_read_rule(one) for one in written.get("escalation", ())),
            "failures": tuple(
                FailureRule(**{**one, "severity": Severity(one["severity"])}) for one in written.get("failures", ())
            ),
        }
    )


def _read_receiver(written: Mapping[str, Any]) -> Receiver:
    return Receiver(
        **{
            **written,
            "type": ReceiverType(written["type"]),
            "to": tuple(written.get("to", ())),
            "encryption": MailEncryption(written.get("encryption", MailEncryption.STARTTLS)),
        }
    )


def read_matcher(written: Mapping[str, Any]) -> Matcher:
    """Return the matcher of a rule or of a silence. Raises as `read`."""
    return Matcher(**{**written, "severity": Severity(written.get("severity", Severity.INFO))})


def _read_rule(written: Mapping[str, Any]) -> EscalationRule:
    quiet = written.get("quiet_hours")
    return EscalationRule(
        match=read_matcher(written.get("match", {})),
        steps=tuple(EscalationStep(tuple(one["receivers"]), one.get("after_s", 0.0)) for one in written["steps"]),
        repeat_s=written.get("repeat_s", 0.0),
        quiet_hours=QuietHours(**{**quiet, "severity": Severity(quiet["severity"])}) if quiet else None,
    )


def derive_link_key(jwt_secret: str) -> str:
    """Return the key that signs links in messages.

    The api-server and the agents derive it from `[api_auth] jwt_secret`, which no worker has. Every task can read
    `[api] secret_key`, so a task could acknowledge every alert with a key that comes from there.
    """
    return hmac.new(jwt_secret.encode(), b"airfleet acknowledge", hashlib.sha256).hexdigest()


def derive_webhook_token(jwt_secret: str) -> str:
    """Return the bearer token with which Alertmanager reports alerts to the agents; no worker can derive it either."""
    return hmac.new(jwt_secret.encode(), b"airfleet alerts", hashlib.sha256).hexdigest()

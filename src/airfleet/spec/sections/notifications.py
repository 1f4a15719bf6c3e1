"""The `notifications` section of fleet.yaml: who is notified of alerts, when, and how."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, model_validator

from airfleet.spec.notifications import Notifications, SecretReceiver
from airfleet.spec.sections.hosts import Name
from airfleet.spec.sections.references import Reference, TextOrReference
from airfleet.spec.sections.section import Pattern, Section, is_secret_key, rule, shaped
from airfleet.spec.sections.slas import Duration, LocalTime, Zone, seconds_of
from airfleet_provider.contract.alert_schema import Severity
from airfleet_provider.contract.notification_policy import (
    EscalationRule,
    EscalationStep,
    FailureRule,
    MailEncryption,
    Matcher,
    NotificationPolicy,
    QuietHours,
    Receiver,
    ReceiverType,
)

Level = Literal["info", "warning", "critical"]

# The ports of mail servers by the kind of encryption.
_PORTS = {MailEncryption.STARTTLS: 587, MailEncryption.TLS: 465, MailEncryption.NONE: 25}
_SHORTEST_REPEAT_S = 300


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys that a type of receiver must have, and those that it may have."""

    required: tuple[str, ...]
    allowed: tuple[str, ...] = ()


_KEYS = {
    ReceiverType.EMAIL: _Keys(("to", "from", "host"), ("port", "encryption", "login", "password")),
    ReceiverType.SLACK: _Keys(("url",)),
    ReceiverType.TEAMS: _Keys(("url",)),
    ReceiverType.PAGERDUTY: _Keys(("key",), ("url",)),
    ReceiverType.WEBHOOK: _Keys(("url",), ("token",)),
}
_ADDRESS = r"[^\s@<>,;:\"()\[\]]+@[A-Za-z0-9.-]+"


def is_in_clear(url: str) -> bool:
    """Return whether a request to this URL crosses a network without encryption."""
    parts = urlsplit(url)
    try:
        is_here = ip_address(parts.hostname or "").is_loopback
    except ValueError:
        is_here = parts.hostname == "localhost"
    return parts.scheme == "http" and not is_here


def _url(value: str | Reference) -> str | Reference:
    if isinstance(value, str):
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise rule("not the URL of a web server", "write https://host/path")
        if parts.password:
            raise rule("fleet.yaml never holds a password, and this URL carries one", "write it as a reference")
        if any(is_secret_key(key) for key, _ in parse_qsl(parts.query)):
            raise rule("fleet.yaml never holds a token, and this URL carries one", "write it as a reference")
    return value


MailAddress = Annotated[str, *shaped(_ADDRESS, "a mail address such as team@example.com")]
Url = Annotated[TextOrReference, AfterValidator(_url)]


class ReceiverSection(Section):
    """A person's mailbox, a channel or a program that is notified. Which keys it needs depends on its type."""

    type: Literal["email", "slack", "teams", "pagerduty", "webhook"] = Field(
        description="What it is: a mailbox, a channel of Slack or Microsoft Teams, PagerDuty, or an HTTP server.",
        examples=["email"],
    )
    to: list[MailAddress] = Field(
        default=[], description="email: the addresses of its readers.", examples=[["team@example.com"]]
    )
    from_: MailAddress | None = Field(
        default=None, alias="from", description="email: the address of the sender.", examples=["airfleet@example.com"]
    )
    host: Annotated[str, *shaped("[A-Za-z0-9.:-]{1,253}", "a host name or address")] | None = Field(
        default=None, description="email: the mail server.", examples=["smtp.example.com"]
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None,
        description="email: the port of the mail server.",
        examples=[587],
        json_schema_extra={"x-default": "587; with `encryption: tls` 465, with none 25"},
    )
    encryption: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="email: how the connection is encrypted. Without, no login is allowed."
    )
    login: str | None = Field(default=None, description="email: the name to log in with.", examples=["airfleet"])
    password: Reference | None = Field(
        default=None, description="email: a reference to the password.", examples=[{"env": "SMTP_PASSWORD"}]
    )
    url: Url | None = Field(
        default=None,
        description="slack, teams: a reference to the URL of the incoming webhook. webhook: where it listens.",
        examples=[{"file": "secrets/slack"}],
    )
    key: Reference | None = Field(
        default=None,
        description="pagerduty: a reference to the integration key of the Events API v2.",
        examples=[{"env": "PAGERDUTY_KEY"}],
    )
    token: Reference | None = Field(
        default=None, description="webhook: a reference to a bearer token.", examples=[{"env": "HOOK_TOKEN"}]
    )
    resolved: bool = Field(default=True, description="Whether it is notified when an alert has resolved.")
    authority: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The file on the scheduler hosts with the certificates to trust, in place of the system's.",
        examples=["/etc/ssl/company.pem"],
    )

    @model_validator(mode="after")
    def _has_its_keys(self) -> ReceiverSection:
        keys = _KEYS[ReceiverType(self.type)]
        written = {type(self).model_fields[name].alias or name for name in self.model_fields_set}
        common = {"type", "resolved", "authority"}
        for key in keys.required:
            if key not in written:
                raise rule(f"a receiver of the type {self.type} needs the key {key}", f"add {key}")
        for key in sorted(written - common - {*keys.required, *keys.allowed}):
            raise rule(f"a receiver of the type {self.type} has no key {key}", "remove it")
        if self.type in ("slack", "teams") and isinstance(self.url, str):
            raise rule(
                "this URL is a secret: who knows it may write to the channel", "write it as a reference: {env: NAME}"
            )
        if (self.token or self.key) and isinstance(self.url, str) and is_in_clear(self.url):
            raise rule("a token never goes over a connection without encryption", "write https://host/path")
        if (self.login is None) != (self.password is None):
            raise rule("a login needs a password, and a password a login", "add the other key")
        if self.login is not None and self.encryption == "none":
            raise rule("a password never goes over a connection without encryption", "write encryption: starttls")
        return self


class MatchSection(Section):
    """Which alerts: those that fit every given key."""

    source: Pattern | None = Field(
        default=None,
        description="The regular expression that the whole source must match: prometheus, sla, airflow or airfleet.",
        examples=["sla"],
    )
    name: Pattern | None = Field(
        default=None, description="The regular expression that the whole name must match.", examples=["DagRunFailed"]
    )
    severity: Level = Field(default="info", description="The lowest severity that fits.")
    labels: dict[Annotated[str, Field(min_length=1)], Pattern] = Field(
        default={},
        description="Labels, and the regular expression that the whole value of each must match.",
        examples=[{"dag_id": "sales_.*"}],
    )


class StepSection(Section):
    """Receivers that are notified at the same time."""

    notify: list[Name] = Field(description="The names of the receivers.", examples=[["team"]], min_length=1)
    after: Duration | None = Field(
        default=None,
        description="How long after the step before, if nobody has acknowledged.",
        examples=["15m"],
        json_schema_extra={"x-default": "at once"},
    )


class QuietHoursSection(Section):
    """A time of day in which only severe alerts are sent. The others are sent at its end, in one message."""

    from_: LocalTime = Field(alias="from", description="When it begins.", examples=["22:00"])
    to: LocalTime = Field(description="When it ends.", examples=["07:00"])
    zone: Zone = Field(default="UTC", description="The time zone of both.", examples=["Europe/Berlin"])
    severity: Level = Field(default="critical", description="The lowest severity that is sent at once all the same.")

    @model_validator(mode="after")
    def _is_not_always(self) -> QuietHoursSection:
        if self.from_ == self.to:
            raise rule("quiet hours that end when they begin", "write two times of day")
        return self


class EscalationSection(Section):
    """Who is notified of the alerts that fit. Of the rules, the first that fits an alert decides."""

    match: MatchSection = Field(default=MatchSection(), description="Which alerts. Without it, every alert.")
    steps: list[StepSection] = Field(
        default=[],
        description="Who is notified first, and who next. Without steps, nobody is notified.",
        examples=[[{"notify": ["team"]}]],
    )
    repeat: Duration | None = Field(
        default=None,
        description="How long after the last step the first begins again, until somebody acknowledges.",
        examples=["4h"],
        json_schema_extra={"x-default": "never"},
    )
    quiet_hours: QuietHoursSection | None = Field(
        default=None,
        description="When alerts of low severity wait.",
        examples=[{"from": "22:00", "to": "07:00"}],
    )

    @model_validator(mode="after")
    def _does_not_flood(self) -> EscalationSection:
        if self.repeat is not None and seconds_of(self.repeat) < _SHORTEST_REPEAT_S:
            raise rule("a repetition more often than every 5 minutes", "write 5m or more")
        return self


class FailureSection(Section):
    """Failed Dag runs that are alerts: those of the Dags that fit every given key. A retry is no failure."""

    dag: Pattern = Field(default=".*", description="The regular expression that the whole Dag id must match.")
    tag: Pattern | None = Field(
        default=None, description="The regular expression that a whole tag of the Dag must match.", examples=["daily"]
    )
    owner: Pattern | None = Field(
        default=None, description="The regular expression that a whole owner of the Dag must match.", examples=["bi"]
    )
    severity: Level = Field(default="warning", description="The severity of the alert.")


class NotificationsSection(Section):
    """Who is notified of alerts. Without rules, every receiver is notified of warnings and critical alerts."""

    receivers: dict[Name, ReceiverSection] = Field(
        default={}, description="Who can be notified, by name.", examples=[{"team": {}}]
    )
    escalation: list[EscalationSection] = Field(
        default=[],
        description="Who is notified of which alert, and who next. The first rule that fits an alert decides.",
        examples=[[{"steps": [{"notify": ["team"]}]}]],
    )
    failures: list[FailureSection] = Field(
        default=[],
        description="Which failed Dag runs are alerts. The first rule that fits a Dag decides.",
        examples=[[{"tag": "daily", "severity": "critical"}]],
    )
    watchdog: Duration | None = Field(
        default=None,
        description="If the watchdog alert of Prometheus has not arrived for so long, that is a critical alert.",
        examples=["3m"],
        json_schema_extra={"x-default": "3m on a fleet with a monitor host, else never"},
    )
    ping: Reference | None = Field(
        default=None,
        description="A reference to a URL outside the fleet that is requested every minute while alerting works.",
        examples=[{"env": "PING_URL"}],
    )

    @model_validator(mode="after")
    def _knows_its_receivers(self) -> NotificationsSection:
        for number, one in enumerate(self.escalation):
            for step in one.steps:
                for name in step.notify:
                    if name not in self.receivers:
                        known = ", ".join(self.receivers) or "none"
                        raise rule(f"escalation[{number}] notifies {name!r}, which is no receiver", f"known: {known}")
        return self


def convert(written: NotificationsSection) -> Notifications:
    """Return the section as frozen values."""
    policy = NotificationPolicy(
        escalation=tuple(_convert_rule(one) for one in written.escalation),
        failures=tuple(
            FailureRule(one.dag, one.tag or "", one.owner or "", Severity(one.severity)) for one in written.failures
        ),
        watchdog_s=_seconds(written.watchdog),
    )
    receivers = tuple(_convert_receiver(name, one) for name, one in written.receivers.items())
    return Notifications(policy, receivers, written.ping.convert() if written.ping else None)


def _seconds(text: str | None) -> float:
    return float(seconds_of(text)) if text else 0.0


def _convert_receiver(name: str, one: ReceiverSection) -> SecretReceiver:
    encryption = MailEncryption(one.encryption)
    receiver = Receiver(
        name=name,
        type=ReceiverType(one.type),
        to=tuple(one.to),
        sender=one.from_ or "",
        host=one.host or "",
        port=one.port or _PORTS[encryption],
        encryption=encryption,
        login=one.login or "",
        url=one.url if isinstance(one.url, str) else "",
        send_resolved=one.resolved,
        authority=one.authority or "",
    )
    url = one.url.convert() if isinstance(one.url, Reference) else None
    secret = one.password or one.key or one.token
    return SecretReceiver(receiver, url, secret.convert() if secret else None)


def _convert_rule(one: EscalationSection) -> EscalationRule:
    match, quiet = one.match, one.quiet_hours
    return EscalationRule(
        match=Matcher(match.source or "", match.name or "", Severity(match.severity), dict(match.labels)),
        steps=tuple(EscalationStep(tuple(step.notify), _seconds(step.after)) for step in one.steps),
        repeat_s=_seconds(one.repeat),
        quiet_hours=QuietHours(quiet.from_, quiet.to, quiet.zone, Severity(quiet.severity)) if quiet else None,
    )

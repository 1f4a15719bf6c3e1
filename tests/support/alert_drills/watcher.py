"""What happens to alerts, with its moments: in Prometheus, at the HTTP receiver and at the mail server."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from receivers import HttpReceiver, MailReceiver

EVERY_S = 0.25
MAIL, HTTP = "mail", "http"
_MAIL_LINE = re.compile(r"^(critical|warning|info): (\w+) \(([a-z ]+)\)", re.MULTILINE)
_BEGINS = ("firing", "still firing", "fired and resolved")
_ENDS = ("resolved", "fired and resolved")


@dataclass(frozen=True, slots=True)
class Report:
    """What a receiver got of one alert."""

    at: float
    receiver: str
    name: str
    status: str

    @property
    def is_begin(self) -> bool:
        return self.status in _BEGINS

    @property
    def is_end(self) -> bool:
        return self.status in _ENDS


@dataclass
class Watcher:
    """Asks Prometheus and the receivers all the time. Moments are of the monotonic clock.

    Each alert is known by its name, and by its name with its severity, such as `TasksStartLate (warning)`.
    """

    # Returns the labels of the alerts that fire in Prometheus; None if it does not answer, as it is what was broken.
    list_firing: Callable[[], list[Mapping[str, str]] | None]
    http: HttpReceiver
    mail: MailReceiver
    # The name of each alert with the moments at which it began to fire.
    fired: dict[str, list[float]] = field(default_factory=dict)
    firing: set[str] = field(default_factory=set)
    reports: list[Report] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        http, mails = 0, 0
        while not self._stopping.wait(EVERY_S):
            now = time.monotonic()
            taken = list(self.http.taken)
            for request in taken[http:]:
                for one in request.body["alerts"]:
                    self._note(now, HTTP, one["name"], one["severity"], one["status"])
            got = list(self.mail.mails)
            for mail in got[mails:]:
                body = mail.get_body(("plain",))
                text = body.get_content() if body else ""
                for severity, name, status in _MAIL_LINE.findall(text):
                    self._note(now, MAIL, name, severity, status)
            http, mails = len(taken), len(got)
            self._look(now)

    def _note(self, now: float, receiver: str, name: str, severity: str, status: str) -> None:
        self.reports += [Report(now, receiver, one, status) for one in (name, f"{name} ({severity})")]

    def _look(self, now: float) -> None:
        if (labels := self.list_firing()) is None:
            return
        names = [(one["alertname"], f"{one['alertname']} ({one['severity']})") for one in labels]
        firing = {name for pair in names for name in pair}
        for name in firing - self.firing:
            self.fired.setdefault(name, []).append(now)
        self.firing = firing

    def list_fired(self, since: float, *, other_than: Collection[str]) -> list[str]:
        """Return the names of the other alerts that began to fire since a moment."""
        fired = [name for name, moments in list(self.fired.items()) if moments[-1] >= since and "(" not in name]
        return sorted(set(fired).difference(other_than))

    def find_fired(self, name: str, since: float) -> float | None:
        """Return when an alert fired in Prometheus for the first time since a moment."""
        return next((at for at in self.fired.get(name, ()) if at >= since), None)

    def find_begin(self, name: str, receiver: str, since: float) -> float | None:
        """Return when a receiver learned for the first time since a moment that an alert fires."""
        return next((r.at for r in list(self.reports) if _is(r, name, receiver, since) and r.is_begin), None)

    def find_end(self, name: str, receiver: str, since: float) -> float | None:
        """Return when a receiver learned for the first time since a moment that an alert has ended."""
        return next((r.at for r in list(self.reports) if _is(r, name, receiver, since) and r.is_end), None)


def _is(report: Report, name: str, receiver: str, since: float) -> bool:
    return report.name == name and report.receiver == receiver and report.at >= since

"""What arrives of 200 alerts when every receiver is down for minutes and the agents are killed twice.

make bench-notify                         the keys of alerts in bench/results/observe.json
make bench-notify ARGS="--outage 600"     the whole ten minutes

The agents process is the real one, on a real PostgreSQL. The receivers are a mail server with STARTTLS and three HTTP
servers, which take webhooks, PagerDuty's events and Slack's messages. First single alerts are raised and timed. Then
every receiver stops, 200 alerts fire, half of them heal, and the agents get SIGKILL, one time with a message on its
way. `undelivered` counts the alerts and ends of alerts that a receiver never got. `delivered_twice` counts those that
a receiver got again although it compares the key of the message, as the guide on alerts says: all but Slack.
`repeated` counts what each receiver got again without a comparison. The outage is
shortened to four minutes: after the first, the attempts of a receiver come at least once a minute, so a longer outage
repeats what was seen.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

import shops
from airfleet.runners.local import ports
from airfleet_provider.contract import alert_schema, environment
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.notification_policy import (
    EscalationRule,
    EscalationStep,
    NotificationPolicy,
    Receiver,
    ReceiverType,
)
from receivers import HttpReceiver, MailReceiver, mail_to
from support import RESULTS, say, wait

ALERTS, SINGLE, OUTAGE_S = 200, 10, 240.0
HTTP = ("webhook", "pagerduty", "slack")
FILE = RESULTS / "observe.json"
_MAIL_LINE = re.compile(r"^warning: (\w+) \(([a-z ]+)\)", re.MULTILINE)
# A status of a message, and what of its alert it reports.
_REPORTS = {
    "firing": ("begin",),
    "still firing": ("begin",),
    "resolved": ("end",),
    "fired and resolved": ("begin", "end"),
}


@dataclass
class Receivers:
    """All receivers, and what each has got: the key of a message, and what it reports."""

    mail: MailReceiver
    http: dict[str, HttpReceiver] = field(default_factory=lambda: {name: HttpReceiver() for name in HTTP})

    def start(self) -> None:
        self.mail.start()
        for one in self.http.values():
            one.start()

    def stop(self) -> None:
        self.mail.stop()
        for one in self.http.values():
            one.stop()

    def list_got(self) -> dict[str, list[tuple[str, str, str]]]:
        """Return for each receiver the key of each message with the name of an alert and its begin or end."""
        got: dict[str, list[tuple[str, str, str]]] = {name: [] for name in ("mail", *HTTP)}
        for mail in list(self.mail.mails):
            body = mail.get_body(("plain",))
            text = body.get_content() if body else ""
            for name, status in _MAIL_LINE.findall(text):
                got["mail"] += [(str(mail["Message-ID"]), name, part) for part in _REPORTS[status]]
        for request in list(self.http["webhook"].taken):
            for alert in request.body["alerts"]:
                key = request.body["key"]
                got["webhook"] += [(key, alert["name"], part) for part in _REPORTS[alert["status"]]]
        for request in list(self.http["pagerduty"].taken):
            key, is_end = request.body["dedup_key"], request.body["event_action"] == "resolve"
            # A later event of an incident has no name, only its key.
            got["pagerduty"].append((f"{key} {is_end}", key, "end" if is_end else "begin"))
        for number, request in enumerate(list(self.http["slack"].taken)):
            for name, status in re.findall(r"\*warning: (\w+)\* \(([a-z ]+)\)", request.body["text"]):
                got["slack"] += [(str(number), name, part) for part in _REPORTS[status]]
        return got


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outage", type=float, default=OUTAGE_S, help="seconds for which every receiver is down")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="airfleet-notify-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with shops.start_postgres(folder) as port:
            figures = measure(folder, port, chosen.outage)
    print(json.dumps(figures, indent=2))
    if chosen.outage >= OUTAGE_S:
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        FILE.write_text(json.dumps({**known, **figures}, indent=2) + "\n")
    else:
        say("the outage is shorter than four minutes: bench/results/observe.json stays as it is")


def measure(folder: Path, port: int, outage_s: float) -> dict[str, Any]:
    """Play the outage and return the figures."""
    receivers = Receivers(MailReceiver(folder))
    receivers.start()
    database = {"host": "127.0.0.1", "port": port, "user": "postgres", "dbname": "postgres"}
    config = write_config(folder, database, receivers)
    with psycopg.connect(**database, autocommit=True) as connection:  # type: ignore[arg-type]
        runner.migrate(runner.execute_on(connection), runner.read_own())
        agents = start_agents(config)
        try:
            time_alert(connection, receivers, SINGLE)  # until the agents run and hold the lease
            delays = [time_alert(connection, receivers, number) for number in range(SINGLE)]
            say(f"  single alerts: {max(delays):.1f} s at most")
            agents, back = play_outage(connection, receivers, agents, config, outage_s)
            wait(lambda: count_waiting(connection) == 0, "every notification")
            last = time.monotonic() - back
        finally:
            agents.terminate()
            agents.wait(20)
            receivers.stop()
        return {
            "alert_delay_s": round(max(delays), 2),
            **count(connection, receivers),
            "alerts": ALERTS,
            "outage_s": outage_s,
            "all_delivered_after_s": round(last, 1),
            "messages": {"mail": len(receivers.mail.mails), **{name: len(receivers.http[name].taken) for name in HTTP}},
        }


def play_outage(
    connection: psycopg.Connection, receivers: Receivers, agents: subprocess.Popen[bytes], config: Path, outage_s: float
) -> tuple[subprocess.Popen[bytes], float]:
    """Let alerts fire and heal while nobody receives; return the new agents and when the receivers were back."""
    receivers.stop()
    begun = time.monotonic()
    for number in range(ALERTS):
        fire(connection, f"Outage{number}")
        time.sleep(outage_s / 2 / ALERTS)
    agents = kill(agents, config)
    for number in range(0, ALERTS, 2):
        alert_schema.resolve_alert(connection, f"Outage{number}")
    time.sleep(max(0.0, outage_s - (time.monotonic() - begun)))
    # The first request to the webhook is taken, and its sender killed before it gets the answer.
    killed: list[subprocess.Popen[bytes]] = []

    def kill_once() -> None:
        if not killed:
            killed.append(agents)
            agents.send_signal(signal.SIGKILL)
            agents.wait()

    receivers.http["webhook"].before_answer = kill_once
    receivers.start()
    back = time.monotonic()
    wait(lambda: bool(killed), "a message after the outage")
    return start_agents(config), back


def count(connection: psycopg.Connection, receivers: Receivers) -> dict[str, Any]:
    """Compare what each receiver has got with what happened."""
    rows = connection.execute(
        "SELECT name, resolved_at IS NOT NULL FROM airfleet.alert WHERE name ~ '^(Outage|Single)'"
    ).fetchall()
    undelivered, twice, repeated = 0, 0, {}
    for receiver, got in receivers.list_got().items():
        seen = Counter((name, part) for _, name, part in got)
        once = seen if receiver == "slack" else Counter((name, part) for _, name, part in set(got))
        for name, is_over in rows:
            known = find_name(receiver, name, connection)
            undelivered += (known, "begin") not in seen
            undelivered += is_over and (known, "end") not in seen
        twice += 0 if receiver == "slack" else sum(number - 1 for number in once.values())
        repeated[receiver] = sum(number - 1 for number in seen.values())
    return {"undelivered": undelivered, "delivered_twice": twice, "repeated": repeated}


def find_name(receiver: str, name: str, connection: psycopg.Connection) -> str:
    """Return how a receiver knows an alert."""
    if receiver != "pagerduty":
        return name
    row = connection.execute(
        "SELECT 'airfleet.bench.' || id || '.' || floor(extract(epoch FROM raised_at))::bigint FROM airfleet.alert"
        " WHERE name = %s",
        (name,),
    ).fetchone()
    return str(row[0]) if row else ""


def write_config(folder: Path, database: dict[str, Any], receivers: Receivers) -> Path:
    """Write the agents' configuration: everybody is notified of everything, at once."""
    own = (
        mail_to(receivers.mail),
        *(Receiver(name, ReceiverType(name), url=receivers.http[name].url, secret="k3y") for name in HTTP),  # noqa: S106
    )
    policy = NotificationPolicy(
        fleet="bench", receivers=own, escalation=(EscalationRule(steps=(EscalationStep(("mail", *HTTP)),)),)
    )
    path = folder / "agents.json"
    server = {"address": "127.0.0.1", "port": ports.find_free()}
    path.write_text(
        json.dumps({"host": "bench", "server": server, "database": database, "notifications": policy.to_json()})
    )
    return path


def start_agents(config: Path) -> subprocess.Popen[bytes]:
    with (config.parent / "agents.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "airfleet_provider.agents"],
            env={**os.environ, environment.AGENTS: str(config)},
            stderr=log,
        )


def kill(agents: subprocess.Popen[bytes], config: Path) -> subprocess.Popen[bytes]:
    agents.kill()
    agents.wait()
    return start_agents(config)


def fire(connection: psycopg.Connection, name: str) -> None:
    alert_schema.raise_alert(
        connection, fingerprint=name, source="bench", name=name, severity="warning", summary=f"{name} is wrong"
    )


def time_alert(connection: psycopg.Connection, receivers: Receivers, number: int) -> float:
    """Raise one alert; return the seconds until the last receiver has it."""
    name = f"Single{number}"
    begun = time.monotonic()
    fire(connection, name)

    def has(receiver: str) -> Callable[[], bool]:
        known = find_name(receiver, name, connection)
        return lambda: any(one == known for _, one, _ in receivers.list_got()[receiver])

    for receiver in ("mail", *HTTP):
        wait(has(receiver), f"{name} at {receiver}")
    return time.monotonic() - begun


def count_waiting(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM airfleet.notification WHERE state IN ('pending', 'sending'))"
        " + (SELECT count(*) FROM airfleet.alert WHERE settled_at IS NULL AND resolved_at IS NOT NULL)"
    ).fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    main()

"""Processes that notify and are killed, stopped, standby or two at once: each message is sent, and once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing

import psycopg
import pytest

from airfleet_provider.contract.notification_policy import (
    NotificationPolicy,
)
from airfleet_provider.notifications import notifier as notifier_module
from airfleet_provider.notifications import outbox
from airfleet_provider.notifications.notifier import Notifier
from deadline import PATIENCE_S, wait_until
from notifiers import Database, fire, list_statuses, pager, read_states, run_for_a_while, settle, webhook
from receivers import HttpReceiver
from servers import Server

pytestmark = pytest.mark.usefixtures("short_rests")


def test_a_standby_process_sends_nothing_but_notes_what_it_has_sent(database: Database, http: HttpReceiver) -> None:
    notifier = Notifier(NotificationPolicy(receivers=(webhook(http),)))
    fire(database, "DiskFull")
    notifier.once(database)
    database.epoch = None
    fire(database, "Another")
    run_for_a_while(notifier, database)
    assert read_states(database) == {"sent": 1}
    assert len(http.taken) == 1


def test_an_outcome_survives_an_outage_of_the_database(
    database: Database, http: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = Notifier(NotificationPolicy(receivers=(webhook(http),)))
    fire(database, "DiskFull")
    with monkeypatch.context() as patch:
        patch.setattr(database, "share", lambda: (_ for _ in ()).throw(psycopg.OperationalError("down")))

        def has_failed() -> bool:
            try:
                notifier.once(database)
            except psycopg.OperationalError:
                return True
            return False

        wait_until(has_failed, "a turn that cannot note the outcome")
    assert len(http.taken) == 1
    settle(notifier, database)
    assert len(http.requests) == 1


def test_two_processes_at_once_send_each_message_once(database: Database, server: Server, http: HttpReceiver) -> None:
    """As when a process that was suspended does not know yet that another is active."""
    policy = NotificationPolicy(receivers=(webhook(http),))
    other = Database(server.dsn)
    with closing(other.connection):
        first, second = Notifier(policy), Notifier(policy)
        for number in range(20):
            fire(database, f"Alert{number}")
            first.once(database)
            second.once(other)

        def is_settled() -> bool:
            second.once(other)
            return not second.is_sending()

        run_for_a_while(first, database)
        wait_until(is_settled, "the messages of the second")
        settle(first, database)
    assert set(list_statuses(http).values()) == {1}
    assert len(list_statuses(http)) == 20


def test_a_process_that_stops_notes_what_is_on_its_way(
    database: Database, http: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "EVERY_S", 0.0)
    gate = threading.Event()
    http.before_answer = lambda: gate.wait(PATIENCE_S)
    fire(database, "DiskFull")
    notifier = Notifier(NotificationPolicy(receivers=(webhook(http),)))
    notifier.once(database)
    assert read_states(database) == {"sending": 1}
    gate.set()
    notifier.finish(database)
    assert read_states(database) == {"sent": 1}
    settle(Notifier(NotificationPolicy(receivers=(webhook(http),))), database)
    assert len(http.taken) == 1


SENDER = """
import json, sys, time
from airfleet_provider.contract import notification_policy
from airfleet_provider.notifications.notifier import Notifier
from notifiers import Database
notifier = Notifier(notification_policy.read(json.loads(sys.stdin.readline())))
database = Database(sys.argv[1])
while True:
    notifier.once(database)
    time.sleep(0.01)
"""


def test_a_sender_that_is_killed_between_the_message_and_its_note_repeats_only_that_message_with_its_key(
    database: Database, server: Server, http: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the receiver handles the request: nobody can know whether the receiver has it."""
    policy = NotificationPolicy(receivers=(pager(http),))
    for number in range(3):
        fire(database, f"Alert{number}")
    process = subprocess.Popen(
        [sys.executable, "-c", SENDER, server.dsn],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    http.before_answer = lambda: process.send_signal(signal.SIGKILL) or process.wait()  # type: ignore[func-returns-value]
    assert process.stdin
    process.stdin.write(json.dumps(policy.to_json()).encode() + b"\n")
    process.stdin.close()
    wait_until(lambda: process.poll() is not None, "the kill")
    http.before_answer = None
    assert read_states(database) == {"sending": 1, "pending": 2}
    monkeypatch.setattr(outbox, "EXPIRY_S", 0.5)
    settle(Notifier(policy), database)
    keys = Counter(one.body["dedup_key"] for one in http.taken)
    # PagerDuty keeps one incident for one key.
    assert len(keys) == 3
    assert sorted(keys.values()) == [1, 1, 2]
    assert read_states(database) == {"sent": 3}

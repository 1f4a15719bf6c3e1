"""Two real guardians on a real database: exactly one is active, even if a process is killed, frozen or restarted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from deadline import PATIENCE_S, wait_until
from living import is_alive, send
from servers import Server, serve

pytestmark = pytest.mark.local

GUARDIAN = Path(__file__).parents[1] / "support" / "toy_guardian.py"


@dataclass
class Seats:
    """Two seats and what the toy schedulers wrote."""

    server: Server
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def begin(self, seat: str) -> None:
        words = [sys.executable, str(GUARDIAN), self.server.dsn, seat]
        self.running[seat] = subprocess.Popen(words, start_new_session=False)

    def epoch(self) -> int:
        rows = self.server.query("SELECT epoch FROM airfleet.lease WHERE name = 'scheduler'")
        return rows[0][0] if rows else 0

    def active(self) -> str:
        rows = self.server.query("SELECT seat FROM airfleet.tenure WHERE ended_at IS NULL")
        return rows[0][0] if rows else ""

    def states(self) -> dict[str, str]:
        return dict(self.server.query("SELECT name, state FROM airfleet.seat"))

    def others(self) -> str:
        return next(seat for seat in self.running if seat != self.active())

    def writes(self, epoch: int) -> int:
        return self.server.query("SELECT count(*) FROM ledger WHERE epoch = %s", epoch)[0][0]

    def wait_epoch(self, epoch: int) -> None:
        wait_until(lambda: self.epoch() == epoch and self.writes(epoch), f"work in epoch {epoch}", seen=self.describe)

    def describe(self) -> str:
        return f"epoch {self.epoch()}, active {self.active()!r}, {self.states()}"

    def wait_renewals(self, count: int) -> None:
        for _ in range(count):
            last = self.renewed()
            wait_until(lambda: self.renewed() != last, "a renewal of the lease")  # noqa: B023

    def renewed(self) -> object:
        return self.server.query("SELECT renewed_at FROM airfleet.lease WHERE name = 'scheduler'")[0][0]

    def pids(self, seat: str) -> list[int]:
        guardian = psutil.Process(self.running[seat].pid)
        return [guardian.pid, *(child.pid for child in guardian.children())]

    def signal(self, seat: str, number: signal.Signals) -> None:
        for pid in self.pids(seat):
            os.kill(pid, number)

    def overlaps(self) -> list[tuple[int, int]]:
        """Return the epochs that wrote after a later epoch had begun to write."""
        return self.server.query(
            "SELECT DISTINCT old.epoch, new.epoch FROM"
            " (SELECT epoch, max(at) AS ended FROM ledger GROUP BY epoch) old JOIN"
            " (SELECT epoch, min(at) AS began FROM ledger GROUP BY epoch) new"
            " ON old.epoch < new.epoch AND old.ended >= new.began"
        )

    def is_late(self, epoch: int) -> bool:
        """Return whether the holder of this epoch waited until the lease before it had run out."""
        ((why,),) = self.server.query("SELECT why FROM airfleet.tenure WHERE epoch = %s", epoch)
        return bool("has not renewed the lease in time" in why)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture
def seats(server: Server) -> Iterator[Seats]:
    """Two seats, the first active, the second ready."""
    server.query("DROP SCHEMA IF EXISTS airfleet CASCADE")
    server.query("DROP TABLE IF EXISTS ledger")
    server.query("CREATE TABLE ledger (epoch bigint, pid int, at timestamptz DEFAULT clock_timestamp());")
    seats = Seats(server)
    try:
        seats.begin("a")
        wait_until(lambda: server.query("SELECT to_regclass('airfleet.tenure')")[0][0], "the tables")
        seats.wait_epoch(1)
        seats.begin("b")
        wait_until(lambda: seats.states().get("b") == "standby", "the standby")
        seats.wait_renewals(2)  # so that the standby knows that the holder lives
        yield seats
        assert seats.overlaps() == []
    finally:
        for guardian in seats.running.values():
            with contextlib.suppress(ProcessLookupError):
                guardian.send_signal(signal.SIGCONT)
                guardian.kill()
                guardian.wait(PATIENCE_S)


@pytest.mark.parametrize("which", [0, 1], ids=["guardian", "scheduler"])
def test_who_is_killed_is_replaced_at_once(seats: Seats, which: int) -> None:
    os.kill(seats.pids("a")[which], signal.SIGKILL)
    seats.wait_epoch(2)
    assert seats.active() == "b"
    assert not seats.is_late(2)
    if which:
        assert seats.running["a"].wait(PATIENCE_S) == 1, "a scheduler that dies takes its guardian with it"


def test_who_is_frozen_is_replaced_in_time_and_never_acts_again(seats: Seats) -> None:
    pids = seats.pids("a")
    seats.signal("a", signal.SIGSTOP)
    seats.wait_epoch(2)
    before = seats.writes(1)
    for pid in reversed(pids):  # the scheduler first: nobody guards it for a moment
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not is_alive(pids[1]), "its end")
    assert seats.writes(1) == before
    assert seats.is_late(2)


def test_a_scheduler_whose_guardian_is_frozen_is_refused_by_the_database(seats: Seats) -> None:
    guardian, scheduler = seats.pids("a")
    os.kill(guardian, signal.SIGSTOP)
    seats.wait_epoch(2)
    wait_until(lambda: not is_alive(scheduler), "the end of the old scheduler")
    os.kill(guardian, signal.SIGCONT)


def test_a_planned_hand_over_takes_no_outage(seats: Seats) -> None:
    seats.server.query("UPDATE airfleet.lease SET requested = epoch; NOTIFY airfleet_lease")
    seats.wait_epoch(2)
    assert seats.active() == "b"
    wait_until(lambda: seats.states().get("a") == "standby", "the old holder as standby")
    assert not seats.is_late(2)


def test_a_stop_hands_over(seats: Seats) -> None:
    seats.running["a"].terminate()
    assert seats.running["a"].wait(PATIENCE_S) == 0
    seats.wait_epoch(2)
    assert "a" not in seats.states()
    assert not seats.is_late(2)


def test_a_restart_of_the_database_changes_nothing(seats: Seats) -> None:
    pids = seats.pids("a")
    seats.server.stop()
    seats.server.start()
    before = seats.writes(1)
    wait_until(lambda: seats.writes(1) > before, "more work")
    seats.wait_renewals(3)
    assert seats.epoch() == 1
    assert seats.pids("a") == pids


def test_a_long_outage_of_the_database_pauses_the_scheduler_and_costs_nothing(seats: Seats) -> None:
    guardian, scheduler = seats.pids("a")
    seats.server.stop()
    wait_until(lambda: psutil.Process(scheduler).status() == psutil.STATUS_STOPPED, "the pause")
    seats.server.start()
    before = seats.writes(1)
    wait_until(lambda: seats.writes(1) > before, "more work")
    assert seats.epoch() == 1
    assert seats.pids("a") == [guardian, scheduler]


def test_a_database_that_hangs_pauses_the_scheduler_in_time(seats: Seats) -> None:
    guardian, scheduler = seats.pids("a")
    assert seats.server.process
    server = psutil.Process(seats.server.process.pid)
    frozen = [server, *server.children()]
    send(frozen, signal.SIGSTOP)
    try:
        wait_until(lambda: psutil.Process(scheduler).status() == psutil.STATUS_STOPPED, "the pause")
    finally:
        send(frozen, signal.SIGCONT)
    before = seats.writes(1)
    wait_until(lambda: seats.writes(1) > before or seats.epoch() > 1, "more work")
    assert seats.pids("a")[0] == guardian, "its guardian did not live"


@pytest.mark.parametrize("minutes", [10, -10], ids=["ahead", "behind"])
def test_a_wrong_clock_of_the_database_neither_keeps_a_dead_holder_nor_ends_a_living_one(
    seats: Seats, minutes: int
) -> None:
    """What a promoted replica finds in the row when its clock and the former primary's differ."""
    expires = f"UPDATE airfleet.lease SET expires_at = clock_timestamp() + interval '{minutes} minutes'"  # noqa: S608
    for _ in range(3):
        seats.server.query(expires)
        seats.wait_renewals(1)
    assert seats.epoch() == 1
    seats.signal("a", signal.SIGSTOP)
    seats.server.query(expires)
    wait_until(lambda: seats.epoch() == 2, "the standby", seen=seats.describe)


def test_a_holder_that_died_with_the_database_is_not_waited_for(seats: Seats) -> None:
    seats.server.query("UPDATE airfleet.lease SET expires_at = clock_timestamp() + interval '10 minutes'")
    seats.server.stop(signal.SIGQUIT)
    for pid in reversed(seats.pids("a")):
        os.kill(pid, signal.SIGKILL)
    seats.server.start()
    wait_until(lambda: seats.epoch() == 2, "the standby", seen=seats.describe)

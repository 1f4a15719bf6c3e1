"""Operations on a busy fleet: draining workers, and an apply that restarts everything. No running task is disturbed."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import httpx
import pytest

from deadline import wait_until
from four import Four, Poller

pytestmark = [pytest.mark.hosts, pytest.mark.drill]


def test_a_worker_drains_while_the_other_goes_on_and_stays_drained_through_a_restart(four: Four) -> None:
    runs = four.begin(20, 4)
    four.do("workers", "drain", "app2")
    assert four.workers()["app2"]["state"] == "drained"
    four.bed["app2"].run("sudo systemctl restart airfleet-worker-default")
    wait_until(lambda: four.workers()["app2"]["state"] == "drained", "still drained", every_s=1)
    here = four.bed["app2"].run("sudo cat /var/lib/airfleet/worker/ran || true").stdout
    runs += four.begin(1, 4)
    four.wait(runs)
    assert four.bed["app2"].run("sudo cat /var/lib/airfleet/worker/ran || true").stdout == here
    four.do("workers", "resume", "app2")
    assert four.workers()["app2"]["state"] == "serving"
    began, ended = four.ledger()
    assert began == ended, "no attempt was cut off"


def test_an_apply_that_restarts_everything_kills_no_task_and_fails_no_request(four: Four) -> None:
    before = four.ledger()
    runs = four.begin(60, 5)
    with Poller(four.url) as poller:
        four.do("apply", "--restart")
    four.wait(runs)
    began, ended = four.ledger()
    assert (began - before[0], ended - before[1]) == (5, 5), "each ran once, and to its end"
    assert poller.failed == []
    assert poller.asked > 100
    assert four.run("plan", "--check").returncode == 0


def test_a_lost_primary_is_replaced_by_itself_and_comes_back_as_a_replica_and_nothing_has_to_be_applied(
    four: Four,
) -> None:
    four.write("replication: synchronous\n")
    four.do("apply")
    assert is_replica(four, "db2")
    before, _ = four.ledger()
    runs = four.begin(60, 4)
    with Writer(four) as writer:
        wait_until(lambda: len(writer.confirmed) > 3, "some confirmed runs")
        four.bed["db1"].pull_plug()
        lost = time.monotonic()
        confirmed = len(writer.confirmed)
        wait_until(lambda: len(writer.confirmed) > confirmed + 3, "runs after it")
        print(f"confirmed again {writer.again(lost):.1f} s after the primary was lost")
    runs += writer.confirmed
    four.wait(runs)
    began, ended = four.ledger()
    assert began == ended, "no attempt was cut off"
    assert began - before >= len(runs)
    assert not is_replica(four, "db2")

    four.bed["db1"].power_on()
    four.bed["db1"].wait_ready()
    wait_until(lambda: is_replica(four, "db1"), "db1 is a replica", every_s=1)
    assert four.run("plan", "--check").returncode == 0
    wait_until(lambda: four.run("status").returncode == 0, "all is well", every_s=5)
    four.do("failover", "--database")
    journal = "sudo journalctl -q -b -u airfleet-postgresql | grep -c 'switch-over takes longer' || true"
    assert [four.bed[name].run(journal).stdout.strip() for name in ("db1", "db2")] == ["0", "0"]
    assert not is_replica(four, "db1")
    wait_until(lambda: is_replica(four, "db2"), "db2 is a replica", every_s=1)
    four.wait([four.trigger(1)])
    assert four.run("plan", "--check").returncode == 0


def is_replica(four: Four, host: str) -> bool:
    script = "sudo -u postgres psql -XAtq -h /run/postgresql postgres -c 'SELECT pg_is_in_recovery()'"
    return four.bed[host].run(script, check=False).stdout.strip() == "t"


class Writer:
    """Requests runs in a loop and records the confirmed ones with their times."""

    def __init__(self, four: Four) -> None:
        self._four = four
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._times: list[float] = []
        self.confirmed: list[str] = []

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(120)

    def again(self, since: float) -> float:
        """Return the seconds from this moment to the first run that was confirmed more than 2 s later."""
        return next(at for at in self._times if at > since + 2) - since

    def _write(self) -> None:
        while not self._over.wait(0.5):
            with suppress(httpx.HTTPError):
                self.confirmed.append(self._four.trigger(0.1))
                self._times.append(time.monotonic())

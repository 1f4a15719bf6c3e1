"""Two applies of one fleet exclude each other, on this machine and on the fleet."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from airfleet.errors import AirfleetError
from airfleet.runners.fleet import lease
from airfleet.runners.fleet.transport import connection
from airfleet.runners.fleet.transport.connection import HostError, Output
from clocks import MadeUpClock
from deadline import PATIENCE_S, wait_until
from places import parse


def test_the_holder_of_the_lease_is_read() -> None:
    assert lease.parse_holder('"eve@there"\n2026-01-01 10:00:00 UTC\n42\n') == lease.LeaseHolder(
        "eve@there", "2026-01-01 10:00:00 UTC", 42
    )


def test_a_second_apply_of_the_same_project_is_told_who_has_it(tmp_path: Path) -> None:
    with lease.claim(tmp_path, "eve@here", "10:00"):  # noqa: SIM117 - the second is what is tested
        with pytest.raises(AirfleetError, match=r"eve@here \(pid \d+\) applies this fleet since 10:00"):
            with lease.claim(tmp_path, "me@here", "10:01"):
                pass
    with lease.claim(tmp_path, "me@here", "10:02") as token:
        assert len(token) == 16


CLAIM_AS_BEFORE = """\
import fcntl, sys
file = open(sys.argv[1] + "/apply.lock", "a+")
fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
file.write("ann (pid 1) applies this fleet")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


def test_an_apply_of_an_earlier_version_is_noticed_and_notices_this_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLAIM_AS_BEFORE, str(tmp_path)]
    with lease.claim(tmp_path, "me@here", "10:00"):
        before = subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL)
        assert b"BlockingIOError" in before.stderr
    (tmp_path / "apply.lock").unlink()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        assert lease.find_claim(tmp_path) == "ann (pid 1) applies this fleet"
        with pytest.raises(AirfleetError, match="ann"), lease.claim(tmp_path, "me@here", "10:00"):
            pytest.fail("applied twice")
        holder.kill()
    assert lease.find_claim(tmp_path) is None


def test_looking_for_an_apply_makes_none_fail(tmp_path: Path) -> None:
    assert lease.find_claim(tmp_path) is None
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            lease.find_claim(tmp_path)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(500):
            with lease.claim(tmp_path, "me@here", "10:00"):  # raises AirfleetError when somebody else has it
                pass
    finally:
        done.set()
        for looker in lookers:
            looker.join()


class Primary(connection.HostConnection):
    """The host that keeps the lease: its connection breaks for some renewals, or somebody else takes the lease."""

    def __init__(self, answers: list[str]) -> None:
        super().__init__(parse().primary, Path())
        self.answers = answers
        self.opened = 0

    def run(self, script: str, *, timeout_s: float = 60, data: object = None) -> Output:
        answer = self.answers.pop(0) if self.answers else "done"
        if answer == "broken":
            raise HostError("the connection broke", where=self.host.name)
        return Output(lease.TAKEN if answer == "taken" else 0, '"eve"\nnow\n9\n', "")

    def make_another(self) -> Primary:
        self.opened += 1
        return self

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("answers", "seconds", "is_lost"),
    [
        (["done", "broken", "done"], 15, False),
        (["done", "broken", "broken", "done"], 15, False),
        (["done", *["broken"] * 9], 15, True),
        (["done", "taken"], 15, True),
        (["done", "broken"], 100, True),  # this machine slept meanwhile
    ],
)
def test_a_lease_is_lost_when_it_has_run_out_and_not_with_the_first_broken_connection(
    monkeypatch: pytest.MonkeyPatch, answers: list[str], seconds: int, is_lost: bool
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.01)
    monkeypatch.setattr(lease, "SECONDS", 60)
    primary: Any = Primary(list(answers))
    with lease.hold(primary, "me", "token", clock=MadeUpClock(reading_s=seconds / 2)) as held:
        wait_until(lambda: held.lost.is_set() or not primary.answers, "the answers are used up")
        assert held.lost.wait(PATIENCE_S if is_lost else 0.5) == is_lost
        assert (primary.opened > 0) == ("broken" in answers and seconds == 15)

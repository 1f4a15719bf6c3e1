"""The steps of a promotion, in their order, and where it stops."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.promotion import FENCE, OPEN, Promotion
from airfleet.runners.local.state import StateFolder
from airfleet.runners.ssh import promotions
from airfleet.runners.ssh.connection import HostError, Output
from airfleet.spec.fleet import Fleet
from places import NINE, parse, with_setting

TWO = with_setting(NINE, "[web, monitor]", "[web, monitor, database]")


@dataclass
class Shell:
    """A host's PostgreSQL: it remembers what it was told, and may be away or a primary."""

    name: str
    log: list[str]
    away: bool = False
    replica: bool = True
    answers: dict[str, str] = field(default_factory=dict)

    def run(self, script: str, *, timeout_s: float = 60) -> Output:
        del timeout_s
        if self.away:
            raise HostError("it does not answer", where=self.name)
        words = {"pg_is_in_recovery": "t" if self.replica else "f", "pg_promote": "t", "count(*)": "1", FENCE: ""}
        said = {**words, **self.answers}
        names = {FENCE: "fence", OPEN: "open"}
        asked = ("pg_is_in_recovery", "synchronous_standby_names", "pg_promote", "count(*)", "CHECKPOINT")
        for word in (*names, *asked):
            if word in script:
                self.log.append(f"{self.name}: {names.get(word, word)}")
        return Output(0, next((said[word] for word in said if word in script), "") + "\n", "")


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path)
    made.create()
    return made


def promote(fleet: Fleet, folder: StateFolder, log: list[str], *, lost: bool = False, **hosts: Any) -> Any:  # noqa: ANN401
    shells: Any = {name: hosts.get(name, Shell(name, log)) for name in ("web3", "data1")}
    return Promotion(fleet, folder, shells, notify=lambda _: None, sleep=lambda _: None).run(
        to=None, lost=lost, timeout_s=5
    )


def test_the_former_primary_is_stopped_before_the_other_is_promoted_and_the_roles_are_kept(folder: StateFolder) -> None:
    log: list[str] = []
    done = promote(parse(TWO), folder, log)
    assert (done.before, done.after, done.fenced) == ("web3", "data1", True)
    assert log == [
        "data1: pg_is_in_recovery",
        "web3: fence",
        "data1: synchronous_standby_names",
        "data1: pg_promote",
        "data1: open",
        "data1: count(*)",
        "data1: CHECKPOINT",
    ]
    again = promotions.apply_to(parse(TWO), folder)
    assert (again.primary.name, again.promoted.turn) == ("data1", 1)


def test_what_may_lose_something_is_done_only_when_it_is_said(folder: StateFolder) -> None:
    log: list[str] = []
    with pytest.raises(AirfleetError, match="may lack its last") as caught:
        promote(parse(TWO), folder, log, web3=Shell("web3", log, away=True))
    assert "--lost" in caught.value.hint
    assert "data1: pg_promote" not in log
    done = promote(parse(TWO), folder, log, lost=True, web3=Shell("web3", log, away=True))
    assert done.fenced is False


def test_with_synchronous_replication_a_primary_that_is_away_has_confirmed_nothing_more(folder: StateFolder) -> None:
    fleet = replace(parse(TWO), replication="synchronous")
    done = promote(fleet, folder, [], web3=Shell("web3", [], away=True))
    assert done.after == "data1"


def test_a_promotion_that_was_cut_off_is_finished(folder: StateFolder) -> None:
    log: list[str] = []
    promote(parse(TWO), folder, log, data1=Shell("data1", log, replica=False))
    assert "data1: pg_promote" not in log
    assert "data1: open" in log
    assert promotions.read(folder).primary == "data1"


def test_a_fleet_with_one_database_has_nobody_to_promote(folder: StateFolder) -> None:
    with pytest.raises(UsageError, match="nobody to promote"):
        promote(parse(NINE), folder, [])

"""Lines of tasks are read as attempts."""

from __future__ import annotations

import importlib.util
import itertools
import json
import random
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

from airfleet.drills.attempt_log import Clocks, read_log
from invented_ledgers import lines_of

INSTANCE = {"dag": "d", "run": "2026-01-01T00:00:00+00:00", "task": "short", "map": -1, "try": 1}


@pytest.fixture
def writer() -> ModuleType:
    """The module that a drill ships to the fleet."""
    path = resources.files("airfleet.drills") / "project/include/drill_ledger.py"
    spec = importlib.util.spec_from_file_location("drill_ledger", str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_attempt_is_as_long_as_its_own_monotonic_clock_says() -> None:
    (only,) = read_log(lines_of("a", wall=1000.0, mono=50.0, seconds=3.0)).attempts
    assert (only.started, only.last_sign, only.how) == (1000.0, 1003.0, "ok")
    assert only.is_done


def test_an_attempt_without_end_lived_until_its_last_sign() -> None:
    silent, lively = read_log(
        [
            *lines_of("a", wall=0.0, mono=5.0, seconds=None),
            *lines_of("b", wall=1.0, mono=5.0, seconds=None, beats=(0.5, 4.0)),
        ]
    ).attempts
    assert (silent.how, silent.last_sign) == (None, 0.0)
    assert (lively.how, lively.last_sign) == (None, 5.0)
    assert not lively.is_done


def test_the_order_of_lines_does_not_matter() -> None:
    lines = [
        *lines_of("a", wall=0.0, mono=5.0, seconds=2.0, beats=(1.0,)),
        *lines_of("b", wall=1.0, mono=5.0, seconds=None, beats=(0.5, 4.0)),
    ]
    want = read_log(lines)
    for seed in range(20):
        mixed = random.Random(seed).sample(lines, len(lines))
        assert read_log(mixed) == want


def test_a_hosts_clock_that_is_off_is_put_right() -> None:
    right = lines_of("a", wall=1000.0, mono=1, seconds=1.0, host="w1")
    lines = [*right, *lines_of("b", wall=1300.5, mono=1, seconds=1.0, host="w2")]
    first, second = read_log(lines, Clocks(ahead_s={"w2": 300.0})).attempts
    assert (first.started, second.started) == (1000.0, 1000.5)


def test_a_step_of_the_time_of_day_does_not_move_what_a_known_boot_wrote() -> None:
    lines = lines_of("a", wall=1000.0, mono=50.0, seconds=1.0, boot="known")
    lines += lines_of("b", wall=1301.0, mono=51.0, seconds=1.0, boot="known")
    lines += lines_of("c", wall=1003.0, mono=2.0, seconds=1.0, boot="after")
    clocks = Clocks(booted={"known": 950.0}, ahead_s={"w1": 1.0})
    assert [one.started for one in read_log(lines, clocks).attempts] == [1000.0, 1001.0, 1002.0]


def test_torn_and_foreign_lines_are_kept_apart_and_spoil_nothing() -> None:
    good = lines_of("a", wall=0.0, mono=5.0, seconds=2.0)
    torn = ['{"what": "start", "attempt": "b", "dag"', "[]", "null", '{"what": "start", "attempt": "c"}', "{}"]
    ledger = read_log(itertools.chain(torn, ["", "  \n"], good))
    assert [one.token for one in ledger.attempts] == ["a"]
    assert list(ledger.unread) == torn


def test_an_end_whose_start_was_lost_makes_no_attempt() -> None:
    assert read_log(lines_of("a", wall=0.0, mono=5.0, seconds=2.0)[1:]).attempts == ()


def test_what_the_shipped_writer_writes_is_read(writer: ModuleType, tmp_path: Path) -> None:
    writer.work(tmp_path / "new" / "folder", INSTANCE, 0.6)
    ledger = read_log((tmp_path / "new/folder/ledger.jsonl").read_text().splitlines())
    (only,) = ledger.attempts
    assert ledger.unread == ()
    assert only.is_done
    assert only.last_sign - only.started >= 0.6
    assert (only.instance.dag, only.instance.run, only.instance.map_index) == ("d", INSTANCE["run"], -1)


def test_the_shipped_writer_says_what_ended_it(
    writer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.work(tmp_path, INSTANCE, 5.0)
    (only,) = read_log((tmp_path / "ledger.jsonl").read_text().splitlines()).attempts
    assert only.how == "KeyboardInterrupt"


def test_a_line_torn_by_a_full_disk_spoils_only_itself(writer: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text('{"what": "sta')
    writer.work(tmp_path, INSTANCE, 0.0)
    ledger = read_log((tmp_path / "ledger.jsonl").read_text().splitlines())
    assert len(ledger.attempts) == 1
    assert ledger.unread == ('{"what": "sta',)


def test_what_a_task_was_told_wrongly_is_kept_and_the_task_goes_on() -> None:
    wrong = json.dumps({"what": "wrong", "attempt": "a", "said": "variable 'a default'", "mono": 51.0})
    ledger = read_log([*lines_of("a", wall=1000.0, mono=50.0, seconds=2.0), wrong])
    assert ledger.wrong == ("variable 'a default' in d.short of r",)
    assert ledger.attempts[0].is_done

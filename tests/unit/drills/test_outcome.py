"""Findings are compared with the bar of a drill and reported."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from airfleet.drills.analysis import Gap, Pair, Window, analyse
from airfleet.drills.attempt_log import Attempt
from airfleet.drills.catalogue import CATALOGUE
from airfleet.drills.outcome import DrillEvent, DrillOutcome, judge, to_json
from airfleet.drills.page import render_page
from airfleet.drills.report import render_text
from airfleet.drills.timeline import pack, render_timeline
from invented_ledgers import attempt, findings, instance

KILL, PLUG = CATALOGUE["kill-scheduler"], CATALOGUE["plug-pulled"]
AT_ONCE = "1 pair of attempts at once, the first d.short of r on w1 and w2"
WINDOW = Window(began=0.0, struck=10.0, recovered=None, ended=60.0)


def tell(attempts: list[Attempt], drill: str = "kill-scheduler", host: str = "<s1>") -> DrillOutcome:
    found = analyse(attempts, [one.instance for one in attempts], WINDOW)
    events = (DrillEvent(10.0, "fault", "kill the active scheduler", host), DrillEvent(12.0, "seen", "s2 leads"))
    return DrillOutcome(
        CATALOGUE[drill], "airfleet", WINDOW, tuple(attempts), events, found, judge(CATALOGUE[drill], found)
    )


@pytest.fixture
def calm() -> DrillOutcome:
    return tell([attempt(f"r{n}", n * 0.5, 1.2, host=f"w{n % 3}") for n in range(120)])


@pytest.fixture
def bad() -> DrillOutcome:
    attempts = [attempt(f"r{n}", float(n)) for n in range(40)]
    return tell([*attempts, attempt("r9", 9.5, 30, host="w<2>"), attempt("gone", 9, how=None)])


def test_a_drill_that_kept_its_bar_has_broken_nothing() -> None:
    assert judge(KILL, findings()) == ()
    assert judge(PLUG, findings(rerun_s=60.0)) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lost": (instance("r1"), instance("r2"))}, "2 tasks lost, the first d.short of r1"),
        ({"doubled": (Pair(attempt("r", 0), attempt("r", 0, host="w2")),)}, AT_ONCE),
        ({"killed": (attempt("r", 0, how=None),)}, "1 attempt killed, the first d.short of r on w1"),
        ({"longest_gap": Gap(60.0, 5.1)}, "longest gap: 5.1 s; the bar is 5 s"),
        ({"wrong": ("variable 'x' in d.short of r",)}, "1 wrong answer, the first: variable 'x' in d.short of r"),
        ({"rate": 0.9}, "the load was 0.90 tasks/s, below 1, which proves nothing"),
    ],
    ids=["lost", "doubled", "killed", "slow", "wrong", "idle"],
)  # fmt: skip
def test_each_broken_promise_is_said(changes: dict[str, object], said: str) -> None:
    assert judge(KILL, findings(**changes)) == (said,)


def test_a_bar_that_was_never_reached_is_broken() -> None:
    assert judge(PLUG, findings(rerun_s=None)) == ("run again: never within the drill; the bar is 60 s",)


def test_only_the_struck_host_may_kill_and_only_where_the_drill_says_so() -> None:
    killed = findings(killed=(attempt("r", 0, how=None, host="w1"),), rerun_s=1.0)
    assert judge(PLUG, killed, struck_hosts=["w1"]) == ()
    assert judge(PLUG, killed, struck_hosts=["w2"]) != ()
    assert judge(KILL, killed, struck_hosts=["w1"]) != ()


def test_what_others_saw_break_counts() -> None:
    assert judge(KILL, findings(), seen=["two schedulers were active"]) == ("two schedulers were active",)


def test_the_figures_count_every_case(bad: DrillOutcome, calm: DrillOutcome) -> None:
    assert {key: to_json(bad)[key] for key in ("lost", "doubled", "killed", "kept")} == {
        "lost": 1,
        "doubled": 1,
        "killed": 1,
        "kept": False,
    }
    assert (to_json(calm)["kept"], to_json(calm)["got_s"], to_json(calm)["bar_s"]) == (True, 0.5, 5.0)


def test_the_text_has_a_line_per_drill_and_says_what_broke(bad: DrillOutcome, calm: DrillOutcome) -> None:
    text = render_text([calm, bad])
    assert re.search(r"kill-scheduler +airfleet +0\.5 s \(longest gap\) +5 s +0 +0 +0 +yes", text)
    assert "kill-scheduler on airfleet: 1 task lost, the first d.short of gone" in text
    assert "longest time between two task starts" in text


def test_the_page_is_whole_and_takes_no_word_for_markup(bad: DrillOutcome, calm: DrillOutcome) -> None:
    page = render_page([calm, bad], title="Drills <of> today", subtitle="three hosts & more")
    body = page[page.index("<main>") : page.index("</main>") + len("</main>")]
    ET.fromstring(body)
    assert "1 of 2 kept what they promise" in body
    assert "w&lt;2&gt;" in body
    assert "<of>" not in page
    assert not re.search(r"https?://(?!www\.w3\.org)", page)


def test_a_time_line_shows_every_attempt_and_every_event(bad: DrillOutcome) -> None:
    drawn = ET.fromstring(render_timeline(bad))
    kinds = [one.get("class", "") for one in drawn.iter("rect")]
    assert (kinds.count("done"), kinds.count("killed"), kinds.count("doubled")) == (39, 1, 2)
    assert sum("event" in one.get("class", "") for one in drawn.iter("line")) == 2


def test_a_drill_in_which_nothing_ran_has_a_time_line_too() -> None:
    ET.fromstring(render_timeline(tell([])))


def test_rows_hold_no_two_attempts_at_once_and_are_as_few_as_it_takes() -> None:
    rows = pack([attempt("a", 0, 10), attempt("b", 1, 2), attempt("c", 3, 2), attempt("d", 4, 1)])
    assert [[one.instance.run for one in row] for row in rows] == [["a"], ["b", "c"], ["d"]]

"""The pure parts of the bench of hosts: hosts that start late, what is foreseen, and the picture of the decisions."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import hosts
import scale_picture
from hosts import BOOT_S, DayTask, play
from hosts_ahead import TaskLog


def make_full_hour() -> list[DayTask]:
    """Return a quiet hour, and sixty tasks of a minute that crons begin after it."""
    quiet = [DayTask(60.0 * minute, 30.0) for minute in range(60)]
    return [*quiet, *(DayTask(3600.0 + one, 60.0, is_known=True) for one in range(60))]


def test_tasks_wait_for_hosts_that_start_late_unless_their_crons_were_foreseen() -> None:
    late, foreseen = play(make_full_hour(), "booting"), play(make_full_hour(), "ahead")
    assert len(late.waits) == len(foreseen.waits) == 120
    assert max(late.waits) >= BOOT_S, "the first task of all waits for the first host"
    assert sum(one > 10 for one in foreseen.waits) < sum(one > 10 for one in late.waits) / 2
    assert play(make_full_hour(), "calm").on_s < foreseen.on_s, "a host costs while it starts"


def test_a_log_that_grows_is_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("begun t1 a 1.5\nbegun t2 b 2.0\nend")
    log = TaskLog(path)
    log.look()
    assert (log.begun, log.ended) == ({"t1": 1.5, "t2": 2.0}, {})
    with path.open("a") as file:
        file.write("ed t1 a 3.0\n")
    log.look()
    assert log.ended == {"t1": 3.0}


def test_the_picture_in_the_guide_is_that_of_the_decisions_that_were_kept() -> None:
    drawn = scale_picture.draw(json.loads(scale_picture.LOG.read_text()))
    assert scale_picture.PICTURE.read_text() == drawn, "python bench/scale_picture.py"
    lines = ElementTree.fromstring(drawn).findall("{*}polyline")
    assert len(lines) == len(scale_picture.LINES)
    assert scale_picture.LINES[0][3] == hosts.CALM_PER_HOST

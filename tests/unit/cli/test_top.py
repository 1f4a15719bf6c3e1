"""The screen of `airfleet top`: what it shows in 80 columns, and how it ends."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from airfleet.cli import top_screen
from airfleet.operations import top
from airfleet_provider.contract import overview
from airfleet_provider.contract.explanation.facts import JobFacts, PlatformFacts, PoolFacts, QueueActivity, WorkerState
from airfleet_provider.contract.overview import HostLoad, Overview, QueueLoad, RunningTask
from terminals import open_forked

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def make(workers: tuple[WorkerState, ...] | None = (WorkerState("io@io1", "serving", ("io",), 4, 4),)) -> Overview:
    tasks = tuple(
        RunningTask("sales_report_of_all_shops", "scheduled__2026-11-29T00:00:00+00:00", f"query_{number}", number,
                    "running", 1, "warehouse", "io", "io1.example.org", ago(900 - number), ago(2))
        for number in range(40)
    )  # fmt: skip
    return Overview(
        now=NOW,
        platform=PlatformFacts(
            jobs=(JobFacts(1, "SchedulerJob", "s1", 2.0, ago(2)),),
            activity=(QueueActivity("io", "queued", 31, ago(240)),),
            executor="celery",
        ),
        states={"running": 40, "queued": 31, "scheduled": 7},
        runs={"running": 12, "queued": 3},
        pools=(
            PoolFacts("default_pool", 128, False, 20, 0, 0, 0),
            PoolFacts("warehouse", 4, False, 4, 0, 0, 7),
            PoolFacts("unlimited", -1, False, 2, 0, 0, 0),
        ),
        queues=(QueueLoad("io", 31, 40, ago(240)),),
        hosts=(HostLoad("io1.example.org", 40, ago(900), ago(2)),),
        tasks=tasks,
        holders={"warehouse": (("sales_report_of_all_shops", 3), ("ads", 1))},
        succeeded=61,
        failed=2,
        workers=workers,
    )


def draw(seen: Overview, *, rows: int | None = None, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(top_screen.draw("shop", seen, rows))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_full_slot_pool_comes_first_with_its_holders() -> None:
    lines = draw(make())
    pools = [line for line in lines if "/" in line and ("warehouse" in line or "default_pool" in line)]
    assert pools[0].split()[0] == "warehouse"
    assert "4/4" in pools[0]
    assert "sales_report_of_all" in pools[0]


@pytest.mark.parametrize("rows", [12, 24, 50])
def test_it_fits_a_terminal_of_80_columns(rows: int) -> None:
    lines = draw(make(), rows=rows)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= max(rows, 16)


def test_what_matters_is_readable_in_80_columns() -> None:
    text = "\n".join(draw(make()))
    for part in (
        "31",
        "4 min",
        "1 serving, 4/4 slots busy",
        "15 min",
        "io1.example.org",
        "61 tasks succeeded, 2 failed",
    ):
        assert part in text


def test_a_queue_that_nobody_serves_is_said() -> None:
    assert "io@io1 drained" in "\n".join(draw(make((WorkerState("io@io1", "drained", ("io",), 4, 0),))))


def test_names_of_users_send_no_control_sequences() -> None:
    seen = replace(make(), hosts=(HostLoad("h\x1b[2J[bold]", 1, ago(9), ago(2)),), tasks=())
    text = "\n".join(draw(seen))
    assert "\x1b" not in text
    assert "[bold]" in text


def test_json_and_screen_come_from_the_same_overview() -> None:
    body = json.loads(json.dumps(overview.to_json(make())))
    pool = next(one for one in body["slot_pools"] if one["name"] == "warehouse")
    assert (pool["used"], pool["waiting"], pool["holders"][0]["slots"]) == (4, 7, 3)
    assert body["slowest"][0]["age_s"] == 900.0
    assert body["queues"][0]["head_age_s"] == 240.0


def show() -> None:
    """Show the screen of an invented platform."""

    @contextmanager
    def watch(_: object) -> Iterator[Callable[[], Overview]]:
        yield make

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top, "watch", watch)
        place: Any = SimpleNamespace(fleet=SimpleNamespace(name="shop"))
        top_screen.run(place, 0.2)
    print("ended well")


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_a_key_ends_it_and_leaves_the_terminal_as_it_was(key: bytes) -> None:
    with open_forked(show, environment={"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}) as terminal:
        terminal.read_until(b"warehouse")
        terminal.type(key)
        code = terminal.wait()
    left_the_screen = b"\x1b[?1049l"
    assert left_the_screen in terminal.said
    if key == b"q":
        assert code == 0
        assert b"ended well" in terminal.said.split(left_the_screen)[-1]

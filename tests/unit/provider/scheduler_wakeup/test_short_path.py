"""The short path serves a simple scheduler only. tests/services has what it does with a database."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airfleet_provider.compat.calls import metadata_db, queueing
from airfleet_provider.compat.patches import short_path as patch
from airfleet_provider.scheduler_wakeup.short_path import ShortPath

RUN = ("sales", "run_1")


def make_runner(**others: object) -> Any:  # noqa: ANN401 - stands for a SchedulerJobRunner
    return SimpleNamespace(**{"executors": ["one"], "_multi_team": False, "num_runs": -1, **others})


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> ShortPath:
    def open_session() -> None:
        raise RuntimeError("the database is not asked")

    monkeypatch.setattr(metadata_db, "open_session", open_session)
    monkeypatch.setattr(queueing, "read_lock", lambda: 2)
    return ShortPath()


def test_before_the_first_loop_everything_is_left(path: ShortPath) -> None:
    assert path.step([RUN]) == {RUN}
    assert path.counts.slow == {}


@pytest.mark.parametrize("others", [{"executors": ["one", "two"]}, {"_multi_team": True}, {"num_runs": 3}])
def test_a_scheduler_that_is_not_simple_has_no_short_path(path: ShortPath, others: dict[str, object]) -> None:
    path.meet(make_runner(**others))
    assert path.step([RUN]) == {RUN}
    assert path.counts.slow == {}


def test_with_breakers_or_limits_there_is_no_short_path(path: ShortPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "airfleet_provider.compat.patches.patch.Patch.is_applied", lambda self: self.name == "held-tasks"
    )
    path.meet(make_runner())
    assert path.step([RUN]) == {RUN}
    assert path.counts.slow == {}


def test_an_error_leaves_everything_to_a_loop_and_is_counted(path: ShortPath) -> None:
    path.meet(make_runner())
    assert path.step([RUN]) == {RUN}
    assert list(path.counts.slow) == ["RuntimeError: the database is not asked"]


def test_each_loop_presents_its_scheduler() -> None:
    met: list[Any] = []
    (loop,) = patch.PATCH.make(lambda runner, session: 3, met.append)
    assert loop("scheduler", "session") == 3
    assert met == ["scheduler"]

"""Many open pages cost as much as one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from airfleet_provider.processes import cache
from airfleet_provider.processes.cache import Cache
from deadline import PATIENCE_S


def test_a_value_is_made_once_in_its_time() -> None:
    now, made = [0.0], []
    kept = Cache(3.0, lambda: now[0])

    def make() -> int:
        made.append(now[0])
        return len(made)

    assert [kept.get("a", make), kept.get("a", make)] == [1, 1]
    now[0] = 3.0
    assert kept.get("a", make) == 2
    kept.forget("a")
    assert kept.get("a", make) == 3


@pytest.mark.parametrize(("ages_from_question", "second"), [(False, 1), (True, 2)])
def test_a_value_is_as_old_as_its_arrival_or_as_its_question(ages_from_question: bool, second: int) -> None:
    now, made = [0.0], []
    kept = Cache(3.0, lambda: now[0], ages_from_question=ages_from_question)

    def make() -> int:
        made.append(now[0])
        now[0] += 2.0
        return len(made)

    assert kept.get("a", make) == 1
    now[0] = 3.5
    assert kept.get("a", make) == second


def test_threads_that_want_the_same_wait_for_the_first() -> None:
    kept, begun, goes_on, made = Cache(60.0), threading.Event(), threading.Event(), []

    def make() -> str:
        begun.set()
        assert goes_on.wait(PATIENCE_S)
        made.append(1)
        return "value"

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(kept.get, "a", make) for _ in range(4)]
        assert begun.wait(PATIENCE_S)
        goes_on.set()
        assert [one.result(PATIENCE_S) for one in asked] == ["value"] * 4
    assert len(made) == 1


def test_threads_that_wait_fail_with_the_outage_that_the_first_met() -> None:
    begun, goes_on, tried = threading.Event(), threading.Event(), []
    kept = Cache(60.0, lambda: 0.0, keeps_error=lambda error: isinstance(error, ConnectionError))

    def make() -> str:
        tried.append(1)
        begun.set()
        assert goes_on.wait(PATIENCE_S)
        raise ConnectionError("the database does not answer")

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(kept.get, "a", make) for _ in range(4)]
        assert begun.wait(PATIENCE_S)
        goes_on.set()
        assert {str(one.exception(30)) for one in asked} == {"the database does not answer"}
    assert len(tried) == 1


@pytest.mark.parametrize("kept_s", [1.0, 60.0])
def test_an_outage_is_kept_for_some_seconds_only(kept_s: float) -> None:
    now = [0.0]
    kept = Cache(kept_s, lambda: now[0], keeps_error=lambda _: True)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 // 0)
    now[0] = min(kept_s, cache.ERROR_KEPT_S) - 0.1
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1)
    now[0] += 0.2
    assert kept.get("a", lambda: 1) == 1


def test_an_error_that_is_no_outage_is_not_kept() -> None:
    kept = Cache(60.0)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 // 0)
    assert kept.get("a", lambda: 1) == 1


def test_old_values_of_many_keys_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST", 10)
    now = [0.0]
    kept = Cache(1.0, lambda: now[0])
    for key in range(25):
        now[0] += 1.0
        kept.get(key, lambda: "value")
    assert len(kept._values) <= 10

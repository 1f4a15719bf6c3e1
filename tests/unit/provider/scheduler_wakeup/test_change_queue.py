"""What the scheduler looks at: what it heard of, and everything as often as stock Airflow would without news."""

from __future__ import annotations

from airfleet_provider.scheduler_wakeup.change_queue import EVERYTHING_S, RUNS_AT_ONCE, ChangeQueue


def hear(*payloads: str) -> ChangeQueue:
    news = ChangeQueue(looked_at=100.0)
    news.hear(payloads)
    return news


def test_a_change_of_a_task_is_about_its_dag_run() -> None:
    news = hear("sales manual__2026-01-01 with space", "sales other")
    assert news.choose(100.5) == {("sales", "manual__2026-01-01 with space"), ("sales", "other")}
    assert not news.is_left
    assert news.choose(100.6) == frozenset()


def test_other_news_are_about_everything() -> None:
    news = hear("sales run", "")
    assert news.choose(100.1) is None
    assert news.choose(100.2) == {("sales", "run")}  # the look may have been cut off before this one


def test_what_a_look_at_everything_took_up_is_done() -> None:
    news = hear("sales run", "")
    news.choose(100.1)
    news.forget([("sales", "run"), ("never", "heard of")])
    assert not news.is_left


def test_everything_is_looked_at_under_steady_news_too() -> None:
    news = hear()
    looks = []
    for step in range(30):
        news.hear(["sales run"])
        looks.append(news.choose(100 + step * EVERYTHING_S / 10))
        news.forget([("sales", "run")])
    assert looks.count(None) == 2


def test_many_dag_runs_are_taken_in_turn() -> None:
    news = hear(*(f"sales {number:03}" for number in range(RUNS_AT_ONCE + 5)))
    first, second = news.choose(100.1), news.choose(100.2)
    assert first is not None
    assert second is not None
    assert len(first) == RUNS_AT_ONCE
    assert len(second) == 5
    assert not first & second

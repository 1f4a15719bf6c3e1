"""How a real Celery worker begins and ends to take messages, and what it writes down."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from kombu.transport import memory

from airfleet_provider.bundles import unused_releases
from airfleet_provider.contract import environment, release_archive
from airfleet_provider.executors import disk_space, memory_pressure, worker_drain
from deadline import PATIENCE_S, wait_until

OFTEN_S = 0.05


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    """An app whose worker looks at its queues, its mark and its end twenty times a second, not every two seconds."""
    drain_events = memory.Transport.drain_events

    def drain_quickly(transport: memory.Transport, connection: object, timeout: float) -> None:
        drain_events(transport, connection, timeout=min(timeout, OFTEN_S))

    monkeypatch.setattr(memory.Transport, "drain_events", drain_quickly)
    monkeypatch.setattr(worker_drain, "LOOK_EVERY_S", OFTEN_S)
    app = Celery(broker="memory://", backend="cache+memory://")
    app.conf.update(task_default_queue="io", broker_connection_retry_on_startup=True)
    app.steps["consumer"].add(worker_drain.WorkerDrain)

    @app.task(name="say")
    def say(word: str) -> str:
        return word

    return app


@pytest.fixture
def note(app: Celery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], dict[str, Any]]]:
    """What a living worker of the app says; `tmp_path/io` is its mark."""
    monkeypatch.setenv(environment.DRAINED, str(tmp_path / "io"))
    monkeypatch.setenv(environment.WORKERS, str(tmp_path / "notes"))
    path = tmp_path / "notes" / "io.json"
    with start_worker(app, perform_ping_check=False, pool="solo", queues=["io"], shutdown_timeout=PATIENCE_S):
        yield lambda: json.loads(path.read_text()) if path.exists() else {}


def wait_for(note: Callable[[], dict[str, Any]], state: str) -> None:
    wait_until(lambda: note().get("state") == state, f"a worker that is {state}")


def test_a_worker_stops_and_begins_to_take_tasks_as_its_mark_comes_and_goes(
    app: Celery, note: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    say = app.tasks["say"]
    wait_for(note, "serving")
    calm = {
        "state": "serving",
        "pid": os.getpid(),
        "queues": ["io"],
        "slots": 1,
        "tasks": [],
        "refused": 0,
        "by_page": False,
    }
    assert note() == calm
    assert say.delay("one").get(timeout=PATIENCE_S) == "one"
    (tmp_path / "io").touch()
    wait_for(note, "drained")
    waiting = say.delay("two")
    looks = (tmp_path / "notes" / "io.json").stat().st_mtime_ns
    wait_until(lambda: (tmp_path / "notes" / "io.json").stat().st_mtime_ns > looks, "another sign of life")
    assert not waiting.ready()
    (tmp_path / "io").unlink()
    assert waiting.get(timeout=PATIENCE_S) == "two"
    assert "io" in app.amqp.queues.consume_from, "it is served after the next loss of the broker, too"


def test_a_worker_without_room_takes_nothing_until_there_is_room(
    app: Celery, note: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(note, "serving")
    monkeypatch.setattr(disk_space, "measure", lambda _: 0)
    wait_for(note, "full")
    waiting = app.tasks["say"].delay("two")
    monkeypatch.setattr(disk_space, "measure", lambda _: disk_space.ENOUGH)
    assert waiting.get(timeout=PATIENCE_S) == "two"
    wait_for(note, "serving")


def test_a_worker_of_a_host_without_memory_takes_nothing_until_that_has_eased(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(environment.RELEASES, "http://127.0.0.1:1")
    note = request.getfixturevalue("note")
    wait_for(note, "serving")
    monkeypatch.setattr(memory_pressure, "measure", lambda: memory_pressure.MemoryPressure(50.0, 0.01))
    wait_for(note, "pressed")
    waiting = request.getfixturevalue("app").tasks["say"].delay("two")
    monkeypatch.setattr(memory_pressure, "measure", lambda: memory_pressure.MemoryPressure(0.0, 0.5))
    assert waiting.get(timeout=PATIENCE_S) == "two"
    wait_for(note, "serving")


@pytest.mark.parametrize("fetches", [True, False])
def test_a_worker_that_fetches_its_releases_drops_those_that_no_task_uses(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetches: bool
) -> None:
    monkeypatch.setattr(worker_drain, "TIDY_FIRST_S", 0.0)
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    if fetches:
        monkeypatch.setenv(environment.RELEASES, "http://127.0.0.1:1")
    versions = tmp_path / "bundles" / "shop" / "versions"
    for name, days in (("r1", 40), ("r2", 2), ("r3", 1)):
        mark = versions / name / release_archive.MARK
        mark.parent.mkdir(parents=True)
        mark.touch()
        os.utime(mark, (time.time() - days * 86_400,) * 2)
    note = request.getfixturevalue("note")
    wait_for(note, "serving")
    if fetches:
        wait_until(lambda: {path.name for path in versions.iterdir()} == {"r2", "r3"}, "the end of the oldest")
    else:
        assert {path.name for path in versions.iterdir()} == {"r1", "r2", "r3"}


def test_a_worker_works_on_while_it_removes_many_files(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_drain, "TIDY_FIRST_S", 0.0)
    monkeypatch.setattr(worker_drain, "TIDY_EVERY_S", 0.0)
    monkeypatch.setenv(environment.RELEASES, "http://127.0.0.1:1")
    begun: list[Path] = []
    done = threading.Event()

    def tidy(storage: Path, _: float) -> list[str]:
        begun.append(storage)
        done.wait(PATIENCE_S)
        return []

    monkeypatch.setattr(unused_releases, "tidy", tidy)
    note = request.getfixturevalue("note")
    try:
        wait_until(lambda: bool(begun), "the removal")
        wait_for(note, "serving")
        app = request.getfixturevalue("app")
        assert app.tasks["say"].delay("one").get(timeout=PATIENCE_S) == "one"
        assert len(begun) == 1, "one at a time"
    finally:
        done.set()

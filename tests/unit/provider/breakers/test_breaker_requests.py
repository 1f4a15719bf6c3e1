"""Requests of tasks in front of the API: a task that asks too much delays no other, and no read of a connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from airfleet_provider.breakers import api
from airfleet_provider.breakers.api import BreakerRequests
from airfleet_provider.breakers.messages import Failed, GateAnswer, Request, encode
from airfleet_provider.contract.breaker_rules import BreakerRule
from deadline import PATIENCE_S

RULES = {"dwh": BreakerRule("dwh", connection="dwh_.*")}
AWAY = f"/execution/variables/{encode(Failed(('dwh',), (), 'TimeoutError'))}"
CONNECTION = "/execution/connections/dwh_main"


class SlowReports:
    """Answers when `is_open` is set."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.asked: list[str] = []

    def answer(self, instance: str, request: Request) -> GateAnswer:
        self.asked.append(instance)
        self.is_open.wait(PATIENCE_S)
        return GateAnswer()

    def add_user(self, instance: str, connection: str) -> None:
        self.asked.append(instance)
        self.is_open.wait(PATIENCE_S)


class Door:
    """The application, whose database is slow, in front of Airflow's."""

    def __init__(self) -> None:
        self.reports = SlowReports()
        self.app = BreakerRequests(self._pass_on, RULES, lambda: None, self._read_token)
        self.app._reports = self.reports  # type: ignore[assignment]

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        await send({"type": "http.response.start", "status": 299, "headers": []})

    async def _read_token(self, token: str) -> str:
        return token

    async def get(self, path: str, instance: str) -> int:
        """Return the status of the answer to a task instance; 299 is Airflow's."""
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"authorization", f"Bearer {instance}".encode())]
        await self.app({"type": "http", "method": "GET", "path": path, "headers": headers}, None, send)
        return int(sent[0]["status"])


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Door], Coroutine[Any, Any, None]]], None]:
    def run(story: Callable[[Door], Coroutine[Any, Any, None]]) -> None:
        monkeypatch.setattr(api, "NOTE_S", 0.05)
        monkeypatch.setattr(api, "MOST_PENDING", 3)

        async def tell() -> None:
            door = Door()
            try:
                await asyncio.wait_for(story(door), PATIENCE_S)
            finally:
                door.reports.is_open.set()

        asyncio.run(tell())

    return run


Play = Callable[[Callable[[Door], Coroutine[Any, Any, None]]], None]


def test_a_read_of_a_connection_does_not_wait_for_a_slow_database(play: Play) -> None:
    async def story(door: Door) -> None:
        stuck = asyncio.create_task(door.get(AWAY, "hostile"))
        await asyncio.sleep(0)
        assert await door.get(CONNECTION, "other") == 299
        assert not stuck.done()
        door.reports.is_open.set()
        assert await stuck == 200
        assert door.reports.asked == ["hostile"], "a note that came too late is not written"

    play(story)


def test_a_task_instance_has_one_place_in_the_queue_and_the_queue_has_an_end(play: Play) -> None:
    async def story(door: Door) -> None:
        asked = [asyncio.create_task(door.get(AWAY, name)) for name in ("a", "a", "a", "b", "c", "d")]
        refused = [task for task in asked if task not in (asked[0], asked[3], asked[4])]
        assert [await task for task in refused] == [503, 503, 503]
        door.reports.is_open.set()
        assert [await asked[number] for number in (0, 3, 4)] == [200, 200, 200]
        assert await door.get(AWAY, "a") == 200, "its place is free again"

    play(story)

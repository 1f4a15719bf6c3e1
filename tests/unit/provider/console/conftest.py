"""The API of the Fleet pages over an invented platform."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from airfleet_provider.compat.calls import logins
from airfleet_provider.console.app import make_app
from airfleet_provider.console.desk import Desk
from airfleet_provider.console.log_desk import LogDesk
from airfleet_provider.console.rights import Rights
from airfleet_provider.contract import alert_list, alert_schema, release_list, slot_list
from airfleet_provider.contract.notification_policy import Matcher
from airfleet_provider.processes.cache import Cache
from console_bench import Bench, InventedIndex, InventedReadings


@pytest.fixture(scope="session")
def application() -> FastAPI:
    """The application with its routes, which take longer to make than a test. `bench` gives it what it works with."""
    return make_app(Desk())


@pytest.fixture
def bench(application: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Bench:
    readings: Any = InventedReadings()
    index: Any = InventedIndex()

    def log_in(rights: Rights | None) -> TestClient:
        @contextmanager
        def query() -> Iterator[Any]:
            known = [{"dag": one} for one in ("sales", "stock")]
            yield lambda _statement, _values: known

        session = SimpleNamespace(connection=lambda: SimpleNamespace(connection=None))
        desk = Desk(query, lambda: nullcontext(session), readings, Cache(0), LogDesk(lambda: index))
        application.state.desk = desk
        application.dependency_overrides.clear()
        if rights is not None:
            user = SimpleNamespace(get_id=lambda: rights.name, get_name=lambda: rights.name)
            application.dependency_overrides[logins.get_user] = lambda: user
            monkeypatch.setattr(logins, "read_dags", lambda _: rights.dags)
            monkeypatch.setattr(logins, "may_see_platform", lambda _: rights.sees_platform)
            monkeypatch.setattr(logins, "may_operate", lambda _: rights.operates)
            monkeypatch.setattr(logins, "may_audit", lambda _: rights.audits)
            monkeypatch.setattr(logins, "may_read_dag", lambda _, dag: dag in rights.dags)
            monkeypatch.setattr(logins, "may_read_logs", lambda _, dag: dag is None or dag in rights.dags)
        return TestClient(application)

    found = Bench(readings, log_in, index)

    def record(_: object, user: SimpleNamespace, event: str, extra: dict[str, Any]) -> None:
        found.audited.append({"by": user.get_name(), "event": event, **extra})

    monkeypatch.setattr(logins, "record", record)

    def acknowledge(_: object, alert: int, **words: str) -> bool:
        found.acknowledged.append({"alert": alert, **words})
        return True

    def request(_: object, bundle: str, action: str, release: str | None, **words: object) -> int:
        found.requested.append({"bundle": bundle, "action": action, "release": release, **words})
        return 10

    monkeypatch.setattr(alert_schema, "acknowledge", acknowledge)

    def silence(_: object, matcher: Matcher, seconds: float, **words: str) -> int:
        found.silenced.append({"name": matcher.name, "seconds": seconds, **words})
        return 4

    monkeypatch.setattr(alert_list, "match_alert", lambda _, alert: Matcher(name="DiskFull"))
    monkeypatch.setattr(alert_list, "silence", silence)
    monkeypatch.setattr(alert_list, "end_silence", lambda _, number: number == 3)

    def scale(_: object, pool: str, slots: int | None, **words: str) -> None:
        found.scaled.append({"pool": pool, "slots": slots, **words})

    def turn(_: object, workers: list[tuple[str, str]], **words: object) -> None:
        found.turned.append({"workers": workers, **words})

    monkeypatch.setattr(slot_list, "scale", scale)
    monkeypatch.setattr(slot_list, "drain", turn)
    monkeypatch.setattr(release_list, "request", request)
    monkeypatch.setattr(release_list, "touch", lambda _, release: "database")
    return found

"""Publishing: what the `access_control` of one Dag may keep from going live."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowException
from airflow.providers.fab.www import security_appless
from sqlalchemy.exc import DataError, OperationalError

from airfleet_provider.compat.calls import dag_publishing, metadata_db
from airfleet_provider.releases import publish

FAULTS: dict[str, Exception] = {
    "Absent": AirflowException("the role Absent does not exist"),
    "Outage": OperationalError("SELECT 1", None, Exception("server closed the connection")),
}


class Manager:
    """FAB's own, without its tables: it knows no role of `FAULTS`."""

    def __init__(self, session: object) -> None:
        self.session = session

    def sync_perm_for_dag(self, dag_id: str, access_control: dict[str, object]) -> None:
        for role in access_control.keys() & FAULTS:
            raise FAULTS[role]


@pytest.fixture(autouse=True)
def _fab(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def open_session() -> Iterator[object]:
        yield object()

    monkeypatch.setattr(security_appless, "ApplessAirflowSecurityManager", Manager)
    monkeypatch.setattr(metadata_db, "open_session", open_session)


def make(name: str, role: Any) -> dict[str, Any]:  # noqa: ANN401 - what a Dag file says
    control = {"__type": "dict", "__var": {role: {"__type": "set", "__var": ["can_read"]}}} if role else {}
    return {"__version": 3, "dag": {"dag_id": name, "relative_fileloc": f"dags/{name}.py", "access_control": control}}


def test_a_role_that_does_not_exist_is_an_error_of_its_own_file() -> None:
    failed = dag_publishing.sync_permissions([make("a", "Viewer"), make("b", "Absent"), make("c", "Op")])
    assert failed == {"dags/b.py": "access_control of b: the role Absent does not exist"}


def test_a_database_that_is_away_is_no_error_of_a_file() -> None:
    with pytest.raises(OperationalError):
        dag_publishing.sync_permissions([make("a", "Outage")])


def test_such_a_file_is_named_so_that_all_others_can_be_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "run", lambda *_, **__: [])
    dag = publish.ReleasedDag("b", "dags/b.py", "h", 0.1)
    release = publish.PublishedRelease("shop", None, Path("/project"), (dag,), {}, None, None)
    with pytest.raises(publish.NotStoredError) as refusal:
        publish.publish(release, lambda _: [make("b", "Absent")], lambda *_: None, has_fab_roles=True)
    assert refusal.value.errors.keys() == {"dags/b.py"}


class RefusedError(Exception):
    """What the driver raises for a text that is too long."""

    pgcode = "22001"


def test_a_dag_that_the_database_refuses_is_named_though_all_are_written_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[list[str]] = []

    def write(_: object, *, dags: list[dict[str, Any]], **__: object) -> dict[str, str]:
        written.append([one["dag"]["dag_id"] for one in dags])
        if "b" in written[-1]:
            raise DataError("INSERT", None, RefusedError("value too long for type character varying(2000)"))
        return {}

    @contextlib.contextmanager
    def open_session() -> Iterator[Any]:
        yield SimpleNamespace(flush=lambda: None)

    monkeypatch.setattr(metadata_db, "open_session", open_session)
    monkeypatch.setattr(publish, "run", lambda *_, **__: [])
    monkeypatch.setattr(dag_publishing, "write_dags", write)
    dags = tuple(publish.ReleasedDag(name, f"dags/{name}.py", "h", 0.1) for name in "abc")
    release = publish.PublishedRelease("shop", None, Path("/project"), dags, {}, None, None)
    with pytest.raises(publish.NotStoredError) as refusal:
        publish.publish(
            release, lambda some: [make(one.dag_id, None) for one in some], lambda *_: None, has_fab_roles=False
        )
    assert written == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    assert refusal.value.errors.keys() == {"dags/b.py"}
    assert "cannot store the Dag b: value too long" in refusal.value.errors["dags/b.py"]

"""Publishing: what the `access_control` of one Dag may keep from going live."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.exceptions import AirflowException
from airflow.providers.fab.www import security_appless
from sqlalchemy.exc import OperationalError

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
    dag = publish.Dag("b", "dags/b.py", "h", 0.1)
    release = publish.Release("shop", None, Path("/project"), (dag,), {}, None, None)
    with pytest.raises(publish.NotStoredError) as refusal:
        publish.publish(release, lambda _: [make("b", "Absent")], lambda *_: None, has_fab_roles=True)
    assert refusal.value.errors.keys() == {"dags/b.py"}

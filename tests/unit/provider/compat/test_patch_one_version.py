"""An execution API whose older versions are built late gives the same answers as Airflow's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from airflow.api_fastapi.execution_api import security
from airflow.api_fastapi.execution_api.app import create_task_execution_api_app
from airflow.api_fastapi.execution_api.datamodels.token import TIClaims, TIToken
from airflow.api_fastapi.execution_api.routes.variables import has_variable_access
from airflow.api_fastapi.execution_api.versions import bundle
from fastapi import FastAPI, HTTPException, Request
from starlette.testclient import TestClient

from airfleet_provider.compat.patches import one_version
from airfleet_provider.compat.patches.patch import undo

HEADER = "Airflow-API-Version"
VERSIONS = [version.value for version in bundle.versions]
NEWEST, OLDEST = VERSIONS[0], VERSIONS[-1]


@pytest.fixture
def late() -> Iterator[FastAPI]:
    one_version.build_older_versions_late()
    try:
        yield create_task_execution_api_app()
    finally:
        undo(one_version.LATE)


@pytest.fixture(scope="module")
def stock() -> FastAPI:
    """Airflow's own API, with all its routes."""
    app = create_task_execution_api_app()
    ask(app, "/health", NEWEST)
    return app


def ask(app: FastAPI, path: str, version: str | None) -> Any:  # noqa: ANN401 - of the client
    # Without `with`, no service is started, and nothing here needs one.
    return TestClient(app).get(path, headers={HEADER: version} if version else {})


def list_routes(app: FastAPI) -> dict[str, list[tuple[str, str, tuple[str, ...]]]]:
    routers: dict[str, Any] = app.router.versioned_routers  # type: ignore[attr-defined]
    return {
        version: [
            (one.name, one.path, tuple(sorted(getattr(one, "methods", None) or ()))) for one in routers[version].routes
        ]
        for version in VERSIONS
    }


def test_clients_of_the_newest_version_let_nothing_older_be_built(late: FastAPI, stock: FastAPI) -> None:
    for version in (NEWEST, None):
        for path, status in (("/health", 200), ("/no-such-path", 404)):
            assert ask(late, path, version).status_code == ask(stock, path, version).status_code == status
    built = list_routes(late)
    assert built.pop(NEWEST) == list_routes(stock)[NEWEST]
    assert not any(built.values())


def test_the_first_older_client_gets_what_airflow_answers(late: FastAPI, stock: FastAPI) -> None:
    assert ask(late, "/health", NEWEST).status_code == 200
    for version in ("2025-06-01", OLDEST):  # a version between two is served as the older one
        told, expected = (ask(app, "/health", version) for app in (late, stock))
        assert (told.status_code, told.json(), told.headers.get(HEADER)) == (
            expected.status_code,
            expected.json(),
            expected.headers.get(HEADER),
        )
        assert list_routes(late) == list_routes(stock)
    for version in (NEWEST, OLDEST):
        told, expected = (ask(app, "/openapi.json", version) for app in (late, stock))
        assert told.status_code == 200
        assert told.json() == expected.json(), version


def test_the_description_of_a_version_builds_it_first(late: FastAPI) -> None:
    assert ask(late, f"/openapi.json?version={OLDEST}", NEWEST).json()["paths"]


def test_whom_the_application_lets_in_is_asked_in_its_own_words_also_where_cadwyn_asks_again(
    late: FastAPI, stock: FastAPI
) -> None:
    """Airflow lets in everybody in the APIs that the Dag processor and the triggerer have in their own process."""
    asked: list[str] = []

    def read_token(request: Request) -> TIToken:
        asked.append(request.headers[HEADER])
        if len(asked) == 2:  # FastAPI asks first, and Cadwyn when it calls the function of the newest version
            raise HTTPException(418, "instead of a look at the database")
        return TIToken(id=uuid4(), claims=TIClaims(scope="execution"))

    for app in (late, stock):
        app.dependency_overrides[security._jwt_bearer] = read_token
        app.dependency_overrides[has_variable_access] = lambda: None
    for version in (NEWEST, OLDEST, NEWEST):
        for app in (late, stock):
            asked.clear()
            assert ask(app, "/variables/colour", version).status_code == 418, version

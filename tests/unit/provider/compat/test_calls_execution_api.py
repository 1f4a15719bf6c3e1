"""The installed Airflow answers the calls of a task as the shortcut does; tests/local runs both side by side."""

from __future__ import annotations

import pytest
from airflow.api_fastapi.execution_api.routes import execution_api_router
from airflow.api_fastapi.execution_api.routes.task_instances import ti_id_router
from airflow.api_fastapi.execution_api.routes.xcoms import router as xcom_router
from fastapi import FastAPI
from fastapi.routing import APIRoute

from airfleet_provider.api_server.outage_responses import OutageResponses
from airfleet_provider.audit.middleware import Audit
from airfleet_provider.compat.calls import execution_api
from airfleet_provider.compat.patches import execution_api as patches
from airfleet_provider.compat.patches import one_version
from airfleet_provider.execution_api import command, fast_path, routes
from airfleet_provider.execution_api.fast_path import Bypass

# It is not Airflow's: `state` and `rtif` in one call.
OWN = "end"


def test_what_is_repeated_is_as_known() -> None:
    assert execution_api.digest_source() == execution_api.DIGEST


def test_an_airflow_that_answers_in_another_way_answers_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for seam in ("report_outages", "accept_early_tokens"):
        monkeypatch.setattr(patches, seam, lambda *_: None)
    monkeypatch.setattr(one_version, "build_older_versions_late", lambda: None)
    tasks = FastAPI()
    app = FastAPI()
    app.mount("/execution", tasks)
    monkeypatch.delenv("AIRFLEET_STATE", raising=False)
    monkeypatch.setattr(execution_api, "DIGEST", "another")
    wrapped = command.wrap(app)
    assert isinstance(wrapped, Bypass)
    assert isinstance(wrapped.app, Audit)
    assert isinstance(wrapped.app._app, OutageResponses)
    assert wrapped.app._app._app is app
    assert len(tasks.dependency_overrides) == 3, "the lists of fleet.yaml hold there too"
    with pytest.raises(LookupError, match="0 mounts"):
        command.wrap(FastAPI())


def test_each_call_is_a_route_of_airflow_with_the_same_method() -> None:
    known = {
        route.path.removeprefix("/{task_instance_id}/"): route
        for route in ti_id_router.routes
        if isinstance(route, APIRoute)
    }
    assert OWN not in known, "Airflow has a call of this name now"
    assert {name: {method} for name, method in routes.METHODS.items() if name != OWN} == {
        name: known[name].methods for name in routes.METHODS if name != OWN
    }
    xcoms = {
        method
        for route in xcom_router.routes
        if isinstance(route, APIRoute) and route.path == "/{dag_id}/{run_id}/{task_id}/{key:path}"
        for method in route.methods
    }
    assert set(routes.XCOM_METHODS) <= xcoms


def test_a_workload_may_start_and_nothing_else() -> None:
    allowed = {
        route.path: route.allowed_token_types
        for route in execution_api_router.routes
        if isinstance(route, APIRoute) and hasattr(route, "allowed_token_types")
    }
    for call in routes.METHODS:
        for name in ("state", "rtif") if call == OWN else (call,):
            scopes = allowed[f"/task-instances/{{task_instance_id}}/{name}"]
            assert scopes == fast_path.SCOPES.get(call, frozenset({"execution"})), call


def test_the_api_server_has_the_options_that_are_read() -> None:
    flags = {flag for option in execution_api.list_options() for flag in option.flags}
    assert {"--apps", "--workers", "--port", "--host"} <= flags


@pytest.mark.parametrize(("setting", "kept"), [("30", 30), ("0", 0), ("-1", 0)])
def test_no_number_of_runs_below_zero_is_a_limit_of_sql(
    monkeypatch: pytest.MonkeyPatch, setting: str, kept: int
) -> None:
    for name in ("_jwt_validator", "_jwt_generator"):
        monkeypatch.setattr(f"airflow.api_fastapi.execution_api.app.{name}", lambda: None)
    monkeypatch.setenv("AIRFLOW__CORE__NUM_DAG_RUNS_TO_RETAIN_RENDERED_FIELDS", setting)
    assert execution_api.Models().kept_runs == kept

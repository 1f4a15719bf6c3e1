"""Which requests the fast path answers, and the values it reads from them."""

from __future__ import annotations

import pytest

from airfleet_provider.execution_api.routes import find_call

ID = "01a20eed-65a7-739f-9629-4b534eed291f"
XCOM = "/execution/xcoms/d/manual__2026-01-01T00:00:00+00:00/group.t/k"
WORDS = {"dag_id": "d", "run_id": "manual__2026-01-01T00:00:00+00:00", "task_id": "group.t", "key": "k"}


def test_a_call_of_a_task_instance_is_its_own() -> None:
    call = find_call("PATCH", f"/execution/task-instances/{ID}/run", "")
    assert call
    assert (call.name, call.instance, call.words) == ("run", ID, {"id": ID})


def test_an_end_with_fields_is_a_call_of_its_own() -> None:
    path = f"/execution/task-instances/{ID}/end"
    call = find_call("PATCH", path, "")
    assert call
    assert (call.name, call.instance) == ("end", ID)
    assert find_call("PUT", path, "") is None


@pytest.mark.parametrize(
    ("method", "query", "name", "map_index", "dag_result"),
    [
        ("GET", "", "pull", -1, False),
        ("GET", "map_index=3", "pull", 3, False),
        ("POST", "", "push", -1, False),
        ("POST", "dag_result=true&map_index=12", "push", 12, True),
    ],
)
def test_an_xcom_is_pulled_and_pushed(method: str, query: str, name: str, map_index: int, dag_result: bool) -> None:
    call = find_call(method, XCOM, query)
    assert call
    assert (call.name, call.instance) == (name, "")
    assert call.words == {**WORDS, "map_index": map_index, "dag_result": dag_result}
    assert call.about == f"d {WORDS['run_id']} group.t k {map_index}"


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("PUT", f"/execution/task-instances/{ID}/run", ""),
        ("PATCH", f"/execution/task-instances/{ID}/run", "a=b"),
        ("PATCH", f"/execution/task-instances/{ID}/state/more", ""),
        ("GET", f"{XCOM}/slice", "start=0"),
        ("GET", f"{XCOM}/item/0", ""),
        ("HEAD", XCOM, ""),
        ("DELETE", XCOM, ""),
        ("GET", XCOM, "include_prior_dates=true"),
        ("GET", XCOM, "dag_result=true"),
        ("GET", XCOM, "map_index="),
        ("GET", XCOM, "map_index=1&map_index=2"),
        ("GET", XCOM, "map_index=-1"),
        ("POST", XCOM, "mapped_length=3"),
        ("POST", XCOM, "dag_result=false"),
        ("GET", "/execution/xcoms/d/r/t/", ""),
    ],
)
def test_all_else_is_airflow_s(method: str, path: str, query: str) -> None:
    assert find_call(method, path, query) is None

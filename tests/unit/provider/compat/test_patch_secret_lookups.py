"""A lookup says that nothing is there only when everybody who was asked said so."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from airflow import configuration
from airflow.models.variable import Variable as ServerVariable
from airflow.sdk import Connection, Variable
from airflow.sdk import configuration as sdk
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms, context, supervisor, task_runner
from airflow.sdk.execution_time.secrets.execution_api import ExecutionAPISecretsBackend
from airflow.secrets.base_secrets import BaseSecretsBackend
from airflow.secrets.metastore import MetastoreBackend

from airfleet_provider.compat.patches import secret_lookups

Lookup = Callable[[], Any]
NOT_FOUND = comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={})
AWAY = comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 500})


class Store(BaseSecretsBackend):
    """A back end that answers as it is told, and counts."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.asked = 0

    def _answer(self) -> Any:  # noqa: ANN401
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def get_variable(self, key: str, team_name: str | None = None) -> Any:  # noqa: ANN401
        return self._answer()

    def get_connection(self, conn_id: str, team_name: str | None = None) -> Any:  # noqa: ANN401
        answer = self._answer()
        return None if answer is None else Connection(conn_id=conn_id, conn_type="http", host=answer)


def use(monkeypatch: pytest.MonkeyPatch, *stores: BaseSecretsBackend) -> None:
    monkeypatch.setattr(supervisor, "ensure_secrets_backend_loaded", lambda: secret_lookups.follow(stores))
    # `airflow.models.variable` is also the name of a function, so the module is found by what it holds.
    module = inspect.getmodule(ServerVariable)
    monkeypatch.setattr(module, "ensure_secrets_loaded", lambda: secret_lookups.follow(stores))
    monkeypatch.setattr(configuration, "ensure_secrets_loaded", lambda: secret_lookups.follow(stores))


LOOKUPS: dict[str, Lookup] = {
    "a task's variable": lambda: Variable.get("x"),
    "a task's variable with a default": lambda: Variable.get("x", default="default"),
    "a task's connection": lambda: Connection.get("x").host,
    "a trigger's connection": lambda: asyncio.run(Connection.async_get("x")).host,
    "a template's variable": lambda: context.VariableAccessor(deserialize_json=False).get("x", "default"),
    "a template's connection": lambda: context.ConnectionAccessor().get("x", Connection(conn_id="default")).host,
    "an api-server's variable": lambda: ServerVariable.get("x", default_var="default"),
}


@pytest.mark.parametrize("lookup", LOOKUPS.values(), ids=LOOKUPS)
def test_one_that_is_away_is_no_absence(monkeypatch: pytest.MonkeyPatch, lookup: Lookup) -> None:
    use(monkeypatch, Store(), Store(OSError("connection refused")), Store())
    with pytest.raises(PermissionError, match="connection refused") as raised:
        lookup()
    assert type(raised.value).__name__ == "LookupFailedError"


@pytest.mark.parametrize("lookup", LOOKUPS.values(), ids=LOOKUPS)
def test_the_first_that_has_it_answers(monkeypatch: pytest.MonkeyPatch, lookup: Lookup) -> None:
    later = Store("later")
    use(monkeypatch, Store(OSError()), Store("first"), later)
    assert lookup() == "first"
    assert not later.asked


def test_nothing_is_there_when_all_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Store(), Store())
    assert Variable.get("x", default="default") == "default"
    assert ServerVariable.get("x", default_var="default") == "default"
    with pytest.raises(AirflowRuntimeError, match="VARIABLE_NOT_FOUND"):
        Variable.get("x")
    with pytest.raises(AirflowNotFoundException):
        Connection.get("x")


class Channel:
    """A task's supervisor, which answers as it is told."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def send(self, _: object) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def asend(self, message: object) -> object:
        return self.send(message)


@pytest.mark.parametrize("answer", [AWAY, AirflowRuntimeError(AWAY), EOFError("closed"), None])
def test_a_supervisor_that_cannot_say_is_no_absence(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    use(monkeypatch, Store(), ExecutionAPISecretsBackend())
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Channel(answer), raising=False)
    for name in list(LOOKUPS)[:-1]:
        with pytest.raises(PermissionError, match="nobody could say"):
            LOOKUPS[name]()


def test_a_supervisor_that_says_so_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Store(), ExecutionAPISecretsBackend())
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Channel(NOT_FOUND), raising=False)
    assert Variable.get("x", default="default") == "default"
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Channel(comms.VariableResult(key="x", value="v")))
    assert Variable.get("x", default="default") == "v"
    found = comms.ConnectionResult.model_validate(
        {
            **dict.fromkeys(("schema", "login", "password", "port", "extra")),
            "conn_id": "x",
            "conn_type": "http",
            "host": "h",
        }
    )
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Channel(found))
    assert Connection.get("x").host == "h"
    assert asyncio.run(Connection.async_get("x")).host == "h"


def test_what_is_denied_stays_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ExecutionAPISecretsBackend(), last := Store("v"))
    denied = comms.ErrorResponse(error=ErrorType.PERMISSION_DENIED, detail={})
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Channel(denied), raising=False)
    with pytest.raises(PermissionError, match="denied"):
        Variable.get("x", default="default")
    assert not last.asked


def test_airflow_takes_a_followed_back_end_for_what_it_is() -> None:
    (followed, _) = secret_lookups.follow([MetastoreBackend()])
    assert isinstance(followed, MetastoreBackend)
    assert "team_name" in inspect.signature(followed.get_variable).parameters
    with pytest.raises(AttributeError):
        _ = followed.aget_connection


def test_every_process_is_told_by_the_policy_that_airflow_loads_first() -> None:
    for module in (configuration, sdk):
        assert isinstance(module.ensure_secrets_loaded()[-1], secret_lookups.FailureReportingBackend)
    last = inspect.getmodule(ServerVariable)
    assert last is not None
    assert last.ensure_secrets_loaded is configuration.ensure_secrets_loaded
    secret_lookups.tell_outages()
    assert [type(one) for one in configuration.ensure_secrets_loaded()].count(
        secret_lookups.FailureReportingBackend
    ) == 1


def test_the_back_end_of_tasks_asks_what_is_asked_in_its_place() -> None:
    assert (
        f"{ExecutionAPISecretsBackend.__module__}.{ExecutionAPISecretsBackend.__qualname__}"
        == secret_lookups.SUPERVISED
    )

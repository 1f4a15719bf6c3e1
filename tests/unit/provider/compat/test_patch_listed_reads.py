"""Triggers and callbacks, which ask Airflow's triggerer and Dag processor, get nothing that a list keeps for others."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.processor import DagFileProcessorProcess
from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms

from airfleet_provider.access import outside_tasks
from airfleet_provider.access.known_lists import KnownLists
from airfleet_provider.compat.patches import listed_reads
from airfleet_provider.compat.patches.patch import apply, undo
from airfleet_provider.contract.access_store import ListRights
from airfleet_provider.contract.task_lists import ListedDag, ListEntry, TaskLists

RIGHTS = ListRights(
    TaskLists({"db": ListEntry(("tag:a",))}, {"key": ListEntry((), triggers=True)}, {"one": ListEntry()}),
    {"one": ListedDag("one", frozenset({"a"}), "a.py"), "two": ListedDag("two", frozenset(), "b.py")},
)
XCOM = {"run_id": "r", "task_id": "t", "key": "k"}
ALL = [
    comms.GetConnection(conn_id="db"),
    comms.GetVariable(key="key"),
    comms.PutVariable(key="key", value="v", description=None),
    comms.DeleteVariable(key="key"),
    comms.GetXCom(dag_id="one", **XCOM),
    comms.SetXCom(dag_id="one", value=1, **XCOM),
]


class Supervisor:
    """What a child gets: the answer to a request that was passed on, or an error."""

    def __init__(self, file: str = "") -> None:
        self.answers: list[str] = []
        self.dag_file_rel_path = file

    def send_msg(self, _: Any, *, request_id: int, error: comms.ErrorResponse) -> None:  # noqa: ANN401
        assert request_id == 7
        self.answers.append(error.error.value)

    def pass_on(self, message: Any, *_: object) -> None:  # noqa: ANN401
        self.answers.append(type(message).__name__)


def ask(check: Any, file: str, messages: list[Any]) -> list[str]:  # noqa: ANN401
    supervisor = Supervisor(file)
    (handle,) = listed_reads._make(Supervisor.pass_on, check)
    for message in messages:
        handle(supervisor, message, None, 7)
    return supervisor.answers


def test_the_code_of_a_file_gets_what_a_dag_of_the_file_gets() -> None:
    check = functools.partial(outside_tasks.check_file, KnownLists(lambda: RIGHTS, lambda _: None))
    denied = ErrorType.PERMISSION_DENIED.value
    variables = [denied] * 3
    assert ask(check, "a.py", ALL) == ["GetConnection", *variables, "GetXCom", "SetXCom"]
    assert ask(check, "b.py", ALL) == [denied] * 6
    others = [comms.GetConnection(conn_id="free"), comms.GetXCom(dag_id="two", **XCOM), SimpleNamespace()]
    assert ask(check, "b.py", others) == ["GetConnection", "GetXCom", "SimpleNamespace"]


def test_triggers_get_what_is_open_to_them() -> None:
    check = functools.partial(outside_tasks.check_trigger, KnownLists(lambda: RIGHTS, lambda _: None))
    denied = ErrorType.PERMISSION_DENIED.value
    assert ask(check, "", ALL) == [denied, "GetVariable", "PutVariable", "DeleteVariable", denied, denied]


def test_without_an_answer_of_the_database_nothing_is_given() -> None:
    def read() -> ListRights:
        raise OSError("away")

    check = functools.partial(outside_tasks.check_trigger, KnownLists(read, lambda _: None))
    assert ask(check, "", ALL[:1]) == [ErrorType.API_SERVER_ERROR.value]


@pytest.mark.parametrize(
    ("patch", "owner"),
    [(listed_reads.CALLBACKS, DagFileProcessorProcess), (listed_reads.TRIGGERS, TriggerRunnerSupervisor)],
)
def test_the_installed_airflow_asks_through_the_patch(patch: Any, owner: type) -> None:  # noqa: ANN401
    assert patch.find_obstacle() is None
    apply(patch, lambda *_: None)
    try:
        assert patch.is_applied()
        assert "dag_file_rel_path" in DagFileProcessorProcess.__annotations__
    finally:
        undo(patch)
    assert not patch.is_applied()
    assert callable(owner._handle_request)  # type: ignore[attr-defined]


def test_a_triggerer_obeys_lists_and_other_commands_do_not_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(listed_reads, "limit_triggers", made.append)
    outside_tasks.limit_triggers("scheduler")
    assert not made
    outside_tasks.limit_triggers("triggerer", user="me")
    assert len(made) == 1

    def fail(_: object) -> None:
        raise RuntimeError("does not fit")

    monkeypatch.setattr(listed_reads, "limit_triggers", fail)
    with pytest.raises(SystemExit):
        outside_tasks.limit_triggers("triggerer")

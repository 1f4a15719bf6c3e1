"""When a silent task is called dead, and what an outage looks like."""

from __future__ import annotations

import inspect

import pytest
from airflow.exceptions import AirflowException
from airflow.executors.base_executor import get_execution_api_server_url
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.providers.celery.executors import celery_executor
from airflow.providers.celery.executors.celery_executor_utils import ExceptionWithTraceback, send_workload_to_executor
from airflow.sdk.exceptions import AirflowTaskTimeout
from celery.backends.database import DatabaseBackend
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy.exc import IntegrityError, OperationalError

from airfleet_provider.compat import survival
from airfleet_provider.executors.results import PatientBackend
from airfleet_provider.survival.patience import LONGEST_BLINK_S, Patience
from airfleet_provider.survival.watch import Watch

TIMEOUT_S = 90.0


def look(*looks: tuple[float, bool]) -> Patience:
    patience = Patience()
    for now, could_report in looks:
        patience = patience.look(now, could_report=could_report)
    return patience


def steadily(until: int, *, without: range = range(0)) -> list[tuple[float, bool]]:
    return [(float(now), now not in without) for now in range(0, until + 1, 10)]


@pytest.mark.parametrize(
    ("looks", "is_over"),
    [
        ([], False),
        (steadily(80), False),
        (steadily(90), True),
        (steadily(200, without=range(50, 110)), True),
        (steadily(190, without=range(50, 110)), False),
        ([(0.0, True), (LONGEST_BLINK_S + 50, True)], False),
    ],
    ids=["never looked", "not for long", "long enough", "long after an outage", "soon after one", "after a pause"],
)
def test_silence_is_death_only_after_a_whole_time_out_in_which_it_could_speak(
    looks: list[tuple[float, bool]], is_over: bool
) -> None:
    assert look(*looks).is_over(looks[-1][0] if looks else 0.0, TIMEOUT_S) is is_over


def test_a_watch_finds_nobody_to_report_to() -> None:
    assert not Watch(["http://127.0.0.1:9"], 0.0).may_judge()


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (OperationalError("SELECT", {}, Exception("server closed the connection")), True),
        (IntegrityError("INSERT", {}, Exception("duplicate key")), False),
    ],
)
def test_a_broken_connection_is_an_outage_and_a_wrong_statement_is_not(error: Exception, outage: bool) -> None:
    assert survival.is_outage(error) is outage
    assert PatientBackend.exception_safe_to_retry(None, error)  # type: ignore[arg-type]


def test_after_the_first_that_the_broker_refuses_no_other_is_tried_and_none_fails() -> None:
    tried = []

    def send(workloads: list[tuple[str, str, str, str]]) -> list[tuple[object, ...]]:
        (one,) = workloads
        tried.append(one[0])
        answer = "sent" if one[0] == "a" else ExceptionWithTraceback(BrokerError("refused"), "")
        return [(one[0], one[1], answer)]

    answers = survival.send_until_refused(send, [(name, "task", "default", "") for name in "abc"])
    assert tried == ["a", "b"]
    assert answers[0] == ("a", "task", "sent")
    assert [(one[0], type(one[2].exception)) for one in answers[1:]] == [
        ("b", AirflowTaskTimeout),
        ("c", AirflowTaskTimeout),
    ]


def test_what_is_wrong_with_a_task_itself_is_not_tried_again() -> None:
    wrong = ExceptionWithTraceback(AirflowException("no such queue"), "")
    answers = survival.send_until_refused(lambda one: [(one[0][0], "task", wrong)], [("a", "task", "q", "")])
    assert answers == [("a", "task", wrong)]


def test_airflow_is_as_the_seams_expect() -> None:
    loop = inspect.getsource(SchedulerJobRunner._run_scheduler_loop)
    assert "self._find_and_purge_task_instances_without_heartbeats" in loop
    run = inspect.getsource(SchedulerJobRunner._execute)
    assert run.index("executor.start()") < run.index("self._run_scheduler_loop()")
    assert inspect.signature(get_execution_api_server_url).bind()
    send = inspect.getsource(celery_executor.CeleryExecutor._send_workloads)
    assert "self._send_workloads_to_celery(" in send
    assert "result.exception, AirflowTaskTimeout" in send
    assert "return key, args, result" in inspect.getsource(send_workload_to_executor)
    assert celery_executor.AirflowTaskTimeout is AirflowTaskTimeout
    assert not DatabaseBackend.exception_safe_to_retry(None, Exception())

"""A task under breakers: what it asks, what it reports, and when it waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException

from airfleet_provider.breakers.guard import BreakerGuard
from airfleet_provider.breakers.messages import Failed, GateAnswer, Request, Starts, decode, encode, encode_answer
from airfleet_provider.contract.breaker_rules import BreakerRule

NOW = datetime(2026, 11, 29, 6, tzinfo=UTC)
BY_DAG = BreakerRule("crm", dag="crm_.*")
BY_TAG = BreakerRule("tagged", tag="crm")
BY_CONNECTION = BreakerRule("warehouse", connection="dwh_.*")
BY_CODE = BreakerRule("code")
OWN_ERRORS = BreakerRule("own", dag="own", errors=(r".*\.BusyError",))


class BusyError(RuntimeError):
    """An error of a library that airfleet does not know."""


class Platform:
    """Records what tasks say, and gives these answers in turn."""

    def __init__(self, *answers: GateAnswer | Exception) -> None:
        self.heard: list[Request] = []
        self.answers = list(answers)

    def ask(self, name: str) -> str | None:
        self.heard.append(decode(name))
        answer = self.answers.pop(0) if self.answers else GateAnswer()
        if isinstance(answer, Exception):
            raise answer
        return encode_answer(answer)


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, event: str, **values: object) -> None:
        self.lines.append(f"{event} {values}")


def execute(
    platform: Platform,
    run: Callable[[], object],
    *,
    dag: str = "crm_load",
    tags: Sequence[str] = (),
    next_method: str | None = None,
    **declared: str,
) -> object:
    task = SimpleNamespace(dag=SimpleNamespace(tags=set(tags)), **declared)
    ti = SimpleNamespace(task=task, dag_id=dag, task_id="load")
    ti._ti_context_from_server = SimpleNamespace(next_method=next_method)
    guard = BreakerGuard([BY_DAG, BY_TAG, BY_CONNECTION, BY_CODE, OWN_ERRORS], platform.ask, lambda: NOW)
    return guard.execute(ti, Log(), run)


def raises(error: Exception) -> Callable[[], object]:
    def run() -> None:
        raise error

    return run


def test_a_task_that_no_rule_is_about_asks_nothing() -> None:
    platform = Platform()
    assert execute(platform, lambda: 7, dag="other") == 7
    with pytest.raises(ValueError, match="wrong"):
        execute(platform, raises(ValueError("wrong")), dag="other")
    assert platform.heard == []


def test_an_open_breaker_keeps_a_task_before_it_calls_the_service() -> None:
    platform = Platform(GateAnswer("crm", "it is open", 5.0))
    with pytest.raises(AirflowRescheduleException) as waits:
        execute(platform, lambda: pytest.fail("it ran"))
    assert waits.value.reschedule_date == NOW + timedelta(seconds=5)
    assert platform.heard == [Starts(("crm",), ())]


def test_a_task_that_was_deferred_goes_on_while_the_breaker_is_open() -> None:
    platform = Platform(GateAnswer("crm", "it is open", 5.0))
    assert execute(platform, lambda: "the result of the job", next_method="execute_complete") == "the result of the job"
    assert platform.heard == []


def test_a_task_that_was_deferred_reports_a_service_that_is_away() -> None:
    platform = Platform(GateAnswer("crm", "it opens", 4.0))
    with pytest.raises(AirflowRescheduleException):
        execute(platform, raises(ConnectionRefusedError()), next_method="execute_complete")
    assert platform.heard == [Failed(("crm",), ("warehouse",), "ConnectionRefusedError")]


def test_a_service_that_is_away_costs_a_wait_and_no_try() -> None:
    platform = Platform(GateAnswer(), GateAnswer("crm", "it opens", 4.0))
    with pytest.raises(AirflowRescheduleException) as waits:
        execute(platform, raises(ConnectionRefusedError(111, "refused")))
    assert isinstance(waits.value.__cause__, ConnectionRefusedError)
    assert platform.heard[1] == Failed(("crm",), ("warehouse",), "ConnectionRefusedError")


def test_the_task_fails_as_ever_if_the_platform_says_so_or_says_nothing() -> None:
    for answers in ((), (GateAnswer(), OSError("away")), (OSError("away"), OSError("away"))):
        with pytest.raises(ConnectionRefusedError):
            execute(Platform(*answers), raises(ConnectionRefusedError()))


@pytest.mark.parametrize("error", [ValueError("of the author"), AirflowFailException("decided"), KeyError("x")])
def test_an_error_of_the_task_itself_is_not_reported(error: Exception) -> None:
    platform = Platform()
    with pytest.raises(type(error)):
        execute(platform, raises(error))
    assert len(platform.heard) == 1


def test_an_author_who_decides_after_an_outage_has_decided() -> None:
    def run() -> None:
        try:
            raise ConnectionResetError
        except ConnectionResetError as error:
            raise AirflowFailException("no use") from error

    platform = Platform()
    with pytest.raises(AirflowFailException):
        execute(platform, run)
    assert len(platform.heard) == 1


def test_tags_declared_connections_and_own_errors_choose_the_breaker() -> None:
    platform = Platform()
    with pytest.raises(TimeoutError):
        execute(platform, raises(TimeoutError()), dag="other", tags=["crm"])
    assert platform.heard == [Starts(("tagged",), ()), Failed(("tagged",), ("warehouse",), "TimeoutError")]
    platform = Platform()
    with pytest.raises(TimeoutError):
        execute(platform, raises(TimeoutError()), dag="other", postgres_conn_id="dwh_main")
    assert platform.heard == [Starts((), ("warehouse",)), Failed(("warehouse",), (), "TimeoutError")]
    platform = Platform()
    with pytest.raises(BusyError):
        execute(platform, raises(BusyError()), dag="own")
    assert platform.heard[1] == Failed(("own",), (), f"{__name__}.BusyError")


def test_a_rule_with_errors_of_its_own_counts_no_others() -> None:
    platform = Platform()
    with pytest.raises(ConnectionRefusedError):
        execute(platform, raises(ConnectionRefusedError()), dag="own")
    assert platform.heard[1:] == [Failed((), ("warehouse",), "ConnectionRefusedError")]


@pytest.mark.parametrize("request_", [Starts(("a",), ("b",)), Failed(("ä/ b",), ("c",), "x" * 150, 12.5)])
def test_a_request_survives_the_way(request_: Request) -> None:
    assert decode(encode(request_)) == request_


@pytest.mark.parametrize("name", ["", "zz", "5b5d", "5b22626164222c7b7d5d", "7b7d"])
def test_a_wrong_request_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"request|hex|JSON|Expecting|unpack"):
        decode(name)

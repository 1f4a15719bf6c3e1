"""Breakers in a real database: reports of tasks open them, and the gate holds tasks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from airflow.models.taskinstance import TaskInstance
from sqlalchemy import ScalarResult, Select, create_engine, func, select
from sqlalchemy.orm import Session

from airfleet_provider.breakers.messages import Failed, GateAnswer, Starts, decode, encode
from airfleet_provider.breakers.reports import Reports
from airfleet_provider.compat.patches import held_tasks
from airfleet_provider.compat.patches.held_tasks import Held
from breaker_platform import AWAY, RULE, RULES, BreakerPlatform


def test_two_tasks_on_two_hosts_open_it_and_the_scheduler_holds_its_tasks(platform: BreakerPlatform) -> None:
    assert platform.gate.find_held() == ()
    assert platform.fail(0).wait_s is not None
    assert platform.fail(2).wait_s is not None, "another task on the same host"
    assert platform.read()[0] == "closed"
    assert platform.fail(1).why == "it opens"
    assert platform.read()[0] == "open"
    [held] = platform.gate.find_held()
    assert (held.tasks, held.exempt) == ({("sales", "load")}, frozenset())
    assert platform.reports.answer(platform.tasks[7], Starts(("crm",), ())).breaker == "crm"
    assert platform.reports.answer(platform.others[0], Starts((), ())).wait_s is None


def test_the_scheduler_compares_no_task_with_each_of_those_that_are_held(platform: BreakerPlatform) -> None:
    many = frozenset({("sales", "load"), *((f"it's {number}", "load") for number in range(3000))})
    asked: list[Select[Any]] = []

    def queue(_: object, most: int, session: Session) -> set[str]:
        rank = func.row_number().over(order_by=TaskInstance.map_index).label("rank")
        ranked = select(TaskInstance.id, rank).where(TaskInstance.state == "scheduled").subquery()
        query = select(TaskInstance.id).join(ranked, TaskInstance.id == ranked.c.id).where(ranked.c.rank <= most)
        return {str(one) for one in session.scalars(query)}

    (patched,) = held_tasks._make(queue, lambda: [Held(many, frozenset({platform.tasks[3]}))])
    engine = create_engine(platform.server.dsn.replace("postgresql:", "postgresql+psycopg2:"))

    def scalars(query: Select[Any]) -> ScalarResult[Any]:
        asked.append(query)
        return session.scalars(query)

    with Session(engine) as session:
        found = patched(None, 21, session=SimpleNamespace(scalars=scalars))
        assert found == {*platform.others, platform.tasks[3]}
        query = asked[0].compile(engine, compile_kwargs={"render_postcompile": True})
        plan = session.connection().exec_driver_sql(f"EXPLAIN {query}", query.params).scalars().all()
    engine.dispose()
    assert sum("hashed SubPlan" in line for line in plan) == 2, plan


def test_a_task_that_fails_alone_waits_three_times_and_then_fails(platform: BreakerPlatform) -> None:
    answers = []
    for _ in range(5):
        answers.append(platform.fail(4).wait_s is not None)
        platform.age_failures()
    assert answers == [True, True, True, False, False]
    assert platform.read()[0] == "closed"


def test_a_task_that_reads_a_connection_belongs_to_its_breaker(platform: BreakerPlatform) -> None:
    away = Failed((), ("dwh",), "TimeoutError")
    assert platform.reports.answer(platform.others[0], away).wait_s is None
    platform.reports.add_user(platform.others[0], "dwh_main")
    platform.reports.add_user(platform.tasks[0], "crm_main")
    assert platform.reports.answer(platform.others[0], away).wait_s is not None
    platform.reports.answer(platform.others[1], away)
    [held] = platform.gate.find_held()
    assert held.tasks == {("other", "load")}


def test_a_task_cannot_open_the_breaker_of_others(platform: BreakerPlatform) -> None:
    for instance in platform.others[:8]:
        assert platform.reports.answer(instance, AWAY).wait_s is None
    assert platform.read() == ("none", 0)


def test_a_task_joins_no_breaker_whose_rule_is_about_the_names_of_others(platform: BreakerPlatform) -> None:
    for instance in platform.others[:4]:
        platform.reports.answer(instance, Starts((), ("crm",)))
        assert platform.reports.answer(instance, Failed((), ("crm",), "TimeoutError")).wait_s is None
    assert platform.list_members("crm") == []
    # It joined before this was checked.
    platform.server.query("INSERT INTO airfleet.breaker_task VALUES ('crm', 'other', 'load')")
    for instance in platform.others[:4]:
        assert platform.reports.answer(instance, Failed((), ("crm",), "TimeoutError")).wait_s is None
    assert platform.read() == ("none", 0)
    platform.fail(0)
    platform.fail(1)
    [held] = platform.gate.find_held()
    assert held.tasks == {("sales", "load")}


def test_code_joins_a_breaker_that_only_code_names(platform: BreakerPlatform) -> None:
    platform.reports.answer(platform.others[0], Starts((), ("code",)))
    assert platform.list_members("code") == [("other", "load")]


def test_the_other_expressions_of_a_rule_about_a_connection_narrow_it_down(platform: BreakerPlatform) -> None:
    away = Failed(("lake",), ("lake",), "TimeoutError")

    def read_and_fail(instances: list[str]) -> bool:
        for instance in instances:
            platform.reports.add_user(instance, "lake_main")
        waits = [platform.reports.answer(instance, away).wait_s for instance in instances]
        return waits[-1] is not None

    assert not read_and_fail(platform.tasks[:2]), "the Dag does not have the tag"
    platform.server.query("INSERT INTO dag_tag (name, dag_id) VALUES ('lake', 'sales'), ('lake', 'other')")
    assert not read_and_fail(platform.others[:2]), "it is another Dag"
    assert platform.list_members("lake") == []
    assert read_and_fail(platform.tasks[:2])
    platform.server.query("INSERT INTO airfleet.breaker_task VALUES ('lake', 'other', 'load')")
    [held] = platform.gate.find_held()
    assert held.tasks == {("sales", "load")}


def test_a_failure_keeps_a_breaker_open_no_longer_than_a_probe_may(platform: BreakerPlatform) -> None:
    for number, asked in ((0, None), (1, 3600.0)):
        platform.reports.answer(platform.tasks[number], Failed(("crm",), (), "TimeoutError", asked))
    [(wait_s,)] = platform.server.query("SELECT extract(epoch FROM probe_at - changed_at)::float FROM airfleet.breaker")
    assert 0 < wait_s <= RULE.probe_at_most_s + 1


def test_a_task_that_reports_again_and_again_is_counted_once(platform: BreakerPlatform) -> None:
    for _ in range(20):
        platform.fail(3)
    assert platform.server.query("SELECT count(*) FROM airfleet.breaker_failure") == [(1,)]
    platform.age_failures()
    platform.fail(3)
    assert platform.server.query("SELECT count(*) FROM airfleet.breaker_failure") == [(2,)]


def test_a_text_that_the_database_cannot_hold_is_cut(platform: BreakerPlatform) -> None:
    forged = decode(encode(Failed(("crm\0", "crm\ud800"), (), "Err\0or\ud800", float("nan"))))
    assert forged == Failed(("crm", "crm"), (), "Error", 0.0)
    assert platform.reports.answer(platform.tasks[0], forged).wait_s is not None


def test_many_tasks_that_report_at_once_open_it_once(platform: BreakerPlatform) -> None:
    def report(instance: str) -> GateAnswer:
        return Reports(RULES, platform.connect).answer(instance, AWAY)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(report, platform.tasks))
    assert all(answer.wait_s is not None for answer in answers)
    assert platform.server.query("SELECT state, generation FROM airfleet.breaker") == [("open", 1)]
    assert len(platform.server.query("SELECT id FROM airfleet.breaker_event")) == 1

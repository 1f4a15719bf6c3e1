"""Limits of services in a real database: the gates of schedulers grant starts, and the API counts them."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psycopg
import psycopg2
import pytest
from psycopg.rows import dict_row

import servers
from airfleet_provider.breakers.messages import Starts
from airfleet_provider.compat.patches.held_tasks import Held
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.explanation import reading
from airfleet_provider.contract.service_limits import ServiceLimit, list_services
from airfleet_provider.exporter.breaker_waits import BreakerWaits
from airfleet_provider.slots import loop as slot_loop
from limited_service import QUEUE, RATE, SOME, USED, LimitedService


def test_five_hundred_tasks_start_at_the_rate_and_burn_nothing(server: servers.Server) -> None:
    service = LimitedService(server, limits=(RATE,))
    began = last = service.read_clock()
    started, due = 0, 0.0
    while service.now < 60:
        service.pass_time(1.5)
        found = service.loop()
        service.end(sorted(found))
        started += len(found)
        now = service.read_clock()
        # The time that the test itself takes counts too. Longer pauses than three seconds let no more tokens come in.
        due, last = due + min(1.5 + now - last, RATE.most_tokens), now
    assert started <= service.now + last - began + RATE.most_tokens
    assert started >= due - RATE.most_tokens
    assert server.query("SELECT DISTINCT try_number FROM task_instance") == [(1,)]
    assert service.read_status().waiting == 503 - started


def test_a_dag_with_few_tasks_does_not_wait_for_one_with_many(server: servers.Server) -> None:
    service = LimitedService(server, limits=(RATE,))
    started: list[str] = []
    while len(started) < 7:
        service.pass_time(1.0)
        started += service.loop()
    assert set(service.one) <= set(started), "each Dag has its turn"


def test_schedulers_that_decide_at_once_grant_no_more_than_one_would(server: servers.Server) -> None:
    service = LimitedService(server)
    service.end(sorted(service.loop()))
    service.pass_time(600)
    gates = [service.make_gate() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda gate: gate.find_held(), gates))
    granted = server.query(
        "SELECT count(*), count(DISTINCT instance) FROM airfleet.service_grant WHERE outcome = 'open'"
    )
    assert granted == [(1, 1)]


def test_what_a_killed_scheduler_granted_another_one_starts_and_no_token_is_lost(server: servers.Server) -> None:
    service = LimitedService(server)
    granted = service.see()
    assert len(granted) == 1
    # kill -9 between the grant and the queue.
    other = service.make_gate()
    assert service.loop(other) == granted
    service.end(sorted(granted))
    service.pass_time(60.0)
    assert len(service.see(other)) == 1, "the token that came in meanwhile"


def test_a_grant_that_cannot_be_used_goes_to_another_task(server: servers.Server) -> None:
    service = LimitedService(server)
    [stuck] = service.see()
    service.pass_time(11.0)
    found = service.see()
    assert stuck not in found
    assert len(found) == 1


def test_a_task_that_waits_again_needs_another_token(server: servers.Server) -> None:
    service = LimitedService(server, many=0)
    service.end(service.one[1:])
    assert service.loop() == {service.one[0]}
    service.end(service.one[:1], "scheduled")
    service.pass_time(2.0)
    assert service.loop() == set(), "its grant is used"
    service.pass_time(60.0)
    assert service.loop() == {service.one[0]}


def test_so_many_at_once_and_what_was_deferred_goes_on(server: servers.Server) -> None:
    service = LimitedService(server, limits=(SOME,))
    first = service.loop()
    assert len(first) == 3
    service.pass_time(1.0)
    assert service.loop() == set()
    deferred = sorted(first)[0]
    service.end([deferred], "deferred")
    service.pass_time(1.0)
    assert service.loop() == set(), "its job runs at the service"
    server.query("UPDATE task_instance SET state = 'scheduled', next_method = 'finish' WHERE id = %s", deferred)
    service.pass_time(1.0)
    assert service.loop() == {deferred}, "it goes on without waiting, and no other starts beside it"
    service.end(sorted(first))
    service.pass_time(1.0)
    assert len(service.loop()) == 3


def test_a_task_under_two_limits_starts_when_both_let_it(server: servers.Server) -> None:
    service = LimitedService(server, limits=(RATE, SOME))
    service.loop()
    for _ in range(9):
        service.pass_time(1.0)
        service.loop()
    assert server.query("SELECT count(*) FROM task_instance WHERE state = 'queued'") == [(3,)]
    # What it could not start by the one was not spent of the other.
    grants = server.query("SELECT limit_name, count(*) FROM airfleet.service_grant GROUP BY 1 ORDER BY 1")
    assert grants == [("crm", 3), ("dwh", 3)]


def test_a_paused_dag_and_a_task_that_a_breaker_keeps_take_no_token(server: servers.Server) -> None:
    service = LimitedService(server)
    server.query("UPDATE dag SET is_paused = true WHERE dag_id = 'sales'")
    [found] = service.see()
    assert found in service.one
    service.end(sorted(service.loop()))
    service.pass_time(60.0)
    kept = [Held(frozenset({("one", "load")}), frozenset({service.one[2]}))]
    if found != service.one[2]:
        granted = service.see(kept=kept) - set(service.sales)
        assert granted == {service.one[2]}, "only the probe"


def test_a_start_counts_once_however_often_the_task_asks(server: servers.Server) -> None:
    service = LimitedService(server)
    [first] = service.loop()
    assert service.start(first).wait_s is None
    assert service.start(first).wait_s is None
    assert server.query("SELECT count(*), count(started_at) FROM airfleet.service_grant") == [(1, 1)]


def test_a_task_that_the_scheduler_did_not_hold_takes_a_token_or_waits(server: servers.Server) -> None:
    service = LimitedService(server)
    server.query(QUEUE, service.sales[:3])
    answers = [service.start(one) for one in service.sales[:3]]
    assert [one.wait_s is None for one in answers] == [True, False, False]
    assert (answers[1].is_limit, answers[1].breaker, answers[1].why) == (True, "crm", "1 start a minute")


def test_tasks_that_waited_long_for_a_worker_do_not_start_in_one_moment(server: servers.Server) -> None:
    service = LimitedService(server, limits=(RATE,))
    queued: list[str] = []
    for _ in range(20):
        service.pass_time(5.0)
        queued += service.loop()
    assert len(queued) <= 60, "no more than a minute's worth waits for workers"
    began = service.read_clock()
    server.query("UPDATE airfleet.service_limit SET tokens = 4, refilled_at = clock_timestamp()")
    more = service.sales[-20:]
    server.query(QUEUE, more)
    reports = service.reports()
    waits = Counter(reports.answer(one, Starts(("crm",))).wait_s is None for one in (*queued, *more))
    # One token comes in for each second that the answers take.
    assert waits[True] <= 64 + service.read_clock() - began


def test_tasks_that_wait_for_a_worker_of_one_pool_keep_no_other_pool_from_the_service(server: servers.Server) -> None:
    """Somebody sends 500 tasks to a queue without workers: those of others have their turn."""
    service = LimitedService(server, limits=(RATE,))
    server.query("UPDATE task_instance SET queue = 'stuck' WHERE id = ANY(%s::uuid[])", service.sales)
    server.query("UPDATE task_instance SET state = 'success' WHERE id = ANY(%s::uuid[])", service.one)
    queued: set[str] = set()
    for _ in range(20):
        service.pass_time(5.0)
        queued |= service.loop()
    assert len(queued) == 60
    server.query("UPDATE task_instance SET state = 'scheduled' WHERE id = ANY(%s::uuid[])", service.one)
    service.pass_time(5.0)
    assert service.loop() == set(service.one)


def test_the_tasks_of_a_connection_are_known_when_one_has_used_it(server: servers.Server) -> None:
    service = LimitedService(server, limits=(USED,))
    assert len(service.see()) == 503
    service.reports().add_user(service.sales[0], "api_main")
    assert server.query("SELECT count(*) FROM airfleet.service_grant") == [(0,)], "to read a connection is no start"
    service.now += 2.0
    assert len(service.see() - set(service.one)) == 1
    assert service.reports().answer(service.one[0], Starts((), ("api",))).wait_s is not None, "that one took the token"


def test_a_task_of_another_dag_cannot_take_a_token(server: servers.Server) -> None:
    service = LimitedService(server, limits=(ServiceLimit(BreakerRule("crm", dag="sales"), starts_per_minute=1),))
    for one in service.one:
        assert service.start(one).wait_s is None
    assert server.query("SELECT count(*) FROM airfleet.service_grant") == [(0,)]


def test_without_the_database_the_last_tasks_stay_held_for_a_while(server: servers.Server) -> None:
    service = LimitedService(server)
    [first] = service.see()

    def refuse() -> object:
        raise psycopg2.OperationalError("gone")

    service.gate.connection.open().close()
    service.gate.connection.connect = refuse
    service.now += 10
    assert service.see() == {first}
    service.now += 60
    assert len(service.see()) == 503


def test_a_loop_in_which_no_task_may_start_takes_no_lock(
    server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = LimitedService(server)
    service.see()
    with psycopg2.connect(server.dsn) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT FROM airfleet.service_limit FOR UPDATE")
        service.now += 0.3
        assert len(service.see()) == 1
        holder.rollback()


def test_the_explanation_of_a_task_has_its_place(server: servers.Server) -> None:
    service = LimitedService(server)
    [granted] = service.see()

    def find_place(instance: str) -> int:
        [(dag, index)] = server.query("SELECT dag_id, map_index FROM task_instance WHERE id = %s", instance)
        values = {"name": "crm", "dag": dag, "run": "r", "task": "load", "map_index": index}
        with psycopg.connect(server.dsn) as connection:
            row = connection.execute(reading.SQL["limit_place"], values).fetchone()
        return int(row[0]) if row else -1

    assert find_place(granted) == 0
    few = [find_place(one) for one in service.one if one != granted]
    assert max(few) <= 7, "each Dag has its turn"
    [(last,)] = server.query(
        "SELECT id::text FROM task_instance WHERE dag_id = 'sales' ORDER BY map_index DESC LIMIT 1"
    )
    assert find_place(last) == 502


def test_the_wait_for_a_limit_is_no_late_start_and_asks_for_no_slots(server: servers.Server) -> None:
    service = LimitedService(server)
    service.see()
    waits = BreakerWaits(list_services((), service.limits))
    with psycopg.connect(server.dsn, row_factory=dict_row) as connection:
        ends = waits.find_ends(connection, [("sales", "load"), ("else", "load")])
        held = connection.execute(slot_loop.SQL["list_held"]).fetchall()
    assert ends.keys() == {("sales", "load")}
    assert ends["sales", "load"] >= service.read_clock() - 60
    assert {(row["dag_id"], row["task_id"]) for row in held} == {("sales", "load"), ("one", "load")}


def test_what_was_written_of_a_limit_that_left_fleet_yaml_holds_nothing(server: servers.Server) -> None:
    service = LimitedService(server)
    service.see()
    assert service.read_status().waiting == 502
    server.query("UPDATE airfleet.service_limit SET held_until = held_until - interval '2 minutes'")
    assert service.read_status().waiting == 0
    with psycopg.connect(server.dsn) as connection:
        assert connection.execute(slot_loop.SQL["list_held"]).fetchall() == []
        assert connection.execute(reading.SQL["limits"], {"dag": "sales"}).fetchall() == []


def test_one_option_hides_the_tasks_of_all_limits(server: servers.Server) -> None:
    service = LimitedService(server, limits=(RATE, SOME))
    found = service.see()
    [held] = service.gate.find_held()
    assert held.tasks == {("sales", "load"), ("one", "load")}
    assert held.exempt == found
    # A grant of one of its two limits is none.
    server.query("UPDATE airfleet.service_grant SET outcome = 'expired' WHERE limit_name = 'dwh'")
    server.query("UPDATE dag SET is_paused = true")
    service.now += 2
    assert service.see() == set()

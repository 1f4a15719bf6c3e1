"""Traces of ended runs reach a collector whatever happens to it or to the agents, on a real PostgreSQL."""

from __future__ import annotations

import time
from uuid import UUID

import psycopg
import pytest

import killed_lines
from airfleet_provider.traces import loop, store
from airfleet_provider.traces.loop import NoTraceLoop
from deadline import wait_until
from trace_agents import Agents, CollectorServer, TraceTables, clear, end, read_totals, start


def test_a_run_is_sent_once_it_has_ended_and_only_once(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    number = start(server, "r1")
    agents.turn()
    assert collector.requests == 0
    end(server, number)
    for _ in range(3):
        agents.turn()
    assert (len(collector.spans), collector.requests) == (1 + 2 * 4, 1)
    assert collector.seen[0]["path"] == "/v1/traces"
    assert collector.seen[0]["Authorization"] == "Bearer s3cret-word"
    assert read_totals(server) == {"runs sent": 1, "spans sent": 9}


def test_runs_from_before_are_not_sent_and_those_of_a_time_without_tracing_are_not(
    server: TraceTables, collector: CollectorServer
) -> None:
    end(server, start(server, "before"))
    server.query("UPDATE task_instance SET id = '00000000-0000-7000-8000-000000000000' WHERE map_index = 0")
    server.query("DELETE FROM task_instance WHERE map_index = 1")
    agents = Agents(server, collector)
    agents.turn()
    agents.turn()
    assert collector.requests == 0
    NoTraceLoop().once(agents.context)
    assert server.query("SELECT count(*) FROM airfleet.traced_run") == [(0,)]
    agents.stop()


def test_no_death_at_any_line_loses_a_trace(server: TraceTables, collector: CollectorServer) -> None:
    """Each line dies once, then a new process goes on. Every run must have all of its spans in the end."""

    def play(kill_at: killed_lines.Line | None) -> list[killed_lines.Line]:
        agents = Agents(server, collector)
        number = start(server, f"r{time.monotonic_ns()}")
        before = set(collector.spans)

        def work() -> None:
            agents.turn()
            end(server, number)
            agents.turn()

        # What `store` does is in the loop's transactions: a death there is one before the loop's next line.
        lines = killed_lines.run_until(work, kill_at, loop)
        agents.stop()
        agents.start()
        if server.query("SELECT state FROM dag_run WHERE id = %s", number) == [("running",)]:
            end(server, number)
        agents.turn()
        agents.stop()
        assert len(set(collector.spans) - before) == 9, kill_at
        return lines

    lines = play(None)
    assert len(lines) > 25
    for line in lines:
        play(line)


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"), [(503, {}, 5), (429, {"Retry-After": "70"}, 70), (400, {}, 5)]
)
def test_a_collector_that_refuses_gets_everything_later(
    server: TraceTables,
    collector: CollectorServer,
    agents: Agents,
    caplog: pytest.LogCaptureFixture,
    *,
    status: int,
    headers: dict[str, str],
    wait_s: float,
) -> None:
    collector.status, collector.headers = status, headers
    end(server, start(server, "r1"))
    agents.turn()
    agents.turn()
    assert collector.requests == 1
    assert "s3cret" not in caplog.text
    collector.status = 200
    agents.now += wait_s + 0.1
    end(server, start(server, "r2"))
    agents.turn()
    assert len(collector.spans) == 2 * 9
    assert set(collector.spans.values()) == {1}


def test_a_collector_that_never_ends_its_answer_is_left(server: TraceTables, collector: CollectorServer) -> None:
    agents = Agents(server, collector, whole_s=1.0)
    agents.turn()
    collector.trickles.set()
    end(server, start(server, "r1"))
    agents.turn()
    agents.now += 400
    agents.turn()
    wait_until(lambda: collector.requests, "the request that is not answered")
    assert collector.requests == 1
    collector.trickles.clear()
    agents.stop()
    agents = Agents(server, collector)
    agents.turn()
    agents.stop()
    assert len(collector.spans) == 9


def test_what_a_collector_rejects_is_counted_and_not_sent_again(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    collector.rejected = 2
    end(server, start(server, "r1"))
    agents.turn()
    agents.turn()
    assert collector.requests == 1
    assert read_totals(server) == {"runs sent": 1, "spans sent": 7, "spans rejected": 2}


def test_a_large_run_goes_in_pieces_and_a_collector_may_want_smaller_ones(
    server: TraceTables, collector: CollectorServer, agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.most_spans = 400
    end(server, start(server, "r1"), tasks=300)
    monkeypatch.setattr(loop, "TURN_S", 0.001)
    agents.now = 0.0
    ticks = iter(range(10**6))
    agents.loop._clock = lambda: next(ticks) * 0.0004
    for _ in range(40):
        agents.turn()
    assert set(collector.spans.values()) == {1}
    assert len(collector.spans) == 1 + 300 * 4
    assert read_totals(server) == {"runs sent": 1, "spans sent": 1201}


def test_a_run_that_was_cleared_is_sent_again_with_what_is_new(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    number = start(server, "r1")
    end(server, number)
    agents.turn()
    clear(server, number)
    end(server, number)  # before the loop has seen that it ran again
    agents.turn()
    assert set(collector.spans.values()) == {1}
    assert len(collector.spans) == 2 * 9


def test_a_run_of_any_age_is_found_when_it_was_cleared(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    number = start(server, "old")
    end(server, number)
    agents.turn()
    server.query("UPDATE airfleet.watermark SET value = 5000")
    server.query("DELETE FROM airfleet.traced_run")
    clear(server, number)
    end(server, number)
    agents.turn()
    assert len(collector.spans) == 9 + 9


def test_a_run_that_was_cleared_and_ended_while_no_agents_looked_is_found(
    server: TraceTables, collector: CollectorServer, agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MADE_S", 0.0)
    number = start(server, "old")
    end(server, number)
    agents.turn()
    server.query("UPDATE airfleet.watermark SET value = 5000 WHERE name <> 'traces_looked'")
    server.query("DELETE FROM airfleet.traced_run")
    clear(server, number)
    end(server, number)
    time.sleep(0.1)  # longer than they look back
    agents.turn()
    assert len(collector.spans) == 9 + 9


def test_a_trace_that_nobody_took_for_three_days_is_given_up_and_counted(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    collector.status = 500
    number = start(server, "r1")
    end(server, number)
    agents.turn()
    server.query("UPDATE dag_run SET end_date = now() - interval '3 days 1 hour'")
    agents.turn()
    collector.status = 200
    agents.now += 1000
    agents.turn()
    assert not collector.spans
    assert read_totals(server) == {"runs given up": 1}


def test_a_trace_that_is_refused_keeps_no_other_back(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    collector.most_spans = 0  # it says that one span is too large
    end(server, start(server, "r1"))
    for _ in range(8):
        agents.now += 400
        agents.turn()
    [(failures,)] = server.query("SELECT failures FROM airfleet.traced_run")
    assert failures > 1
    collector.most_spans = 10**9
    end(server, start(server, "r2"))
    agents.now += 400
    before = collector.requests
    agents.turn()
    assert read_totals(server)["runs sent"] == 2
    assert collector.requests - before <= 2, "other runs go in requests of the usual size"


def test_a_run_of_which_no_trace_can_be_made_keeps_no_other_back(
    server: TraceTables, collector: CollectorServer, agents: Agents, caplog: pytest.LogCaptureFixture
) -> None:
    end(server, start(server, "broken"))
    server.query("UPDATE task_instance SET pool = NULL")  # Airflow's own column refuses that
    end(server, start(server, "well"))
    for _ in range(3):
        agents.turn()
    assert read_totals(server)["runs sent"] == 1
    assert caplog.text.count("no trace can be made of the run") == 1
    assert "no trace can be made of the run broken" in caplog.text


def test_a_process_that_lost_the_lease_writes_nothing(
    server: TraceTables, collector: CollectorServer, agents: Agents
) -> None:
    other = Agents(server, collector)
    end(server, start(server, "r1"))
    with pytest.raises(RuntimeError, match="is over"):
        agents.turn()
    other.turn()
    assert len(collector.spans) == 9
    other.stop()


def test_the_statements_scan_no_table_of_airflow(server: TraceTables) -> None:
    server.query("CREATE INDEX IF NOT EXISTS run_running ON dag_run (dag_id) WHERE state = 'running'")
    server.query("CREATE INDEX IF NOT EXISTS run_queued ON dag_run (dag_id) WHERE state = 'queued'")
    server.query("CREATE INDEX IF NOT EXISTS log_try ON log (dag_id, task_id, run_id, map_index, try_number)")
    server.query("CREATE INDEX IF NOT EXISTS try_run ON task_instance (dag_id, run_id)")
    server.query(
        "INSERT INTO dag_run (dag_id, run_id, state, end_date)"
        " SELECT 'd' || n %% 50, 'r' || n, 'success', now() FROM generate_series(1, %s) n",
        20_000,
    )
    server.query(
        "INSERT INTO task_instance (id, dag_id, run_id, task_id, state) SELECT"
        " overlay(gen_random_uuid()::text PLACING '00' FROM 1)::uuid, 'd' || n %% 50, 'r' || n, 't', 'success'"
        " FROM generate_series(1, %s) n",
        20_000,
    )
    server.query(
        "INSERT INTO log (event, dag_id, task_id, run_id, try_number)"
        " SELECT 'running', 'd' || n %% 50, 't', 'r' || n, 1 FROM generate_series(1, %s) n",
        20_000,
    )
    server.query("ANALYZE")
    words = {
        "overlap": 500,
        "made_after": str(UUID(int=int(time.time() * 1000) << 80)),
        "dag": "d1",
        "run": "r1",
        "most": 20,
        "settled_s": 2.0,
        "oldest_s": 9.0,
        "events": list(store.EVENTS),
    }
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(store.SQL["begin"])
        for name in ("unnoted", "newest", "waiting", "old", "events", "rescheduled"):
            plan = connection.execute("EXPLAIN " + store.SQL[name], words).fetchall()
            text = "\n".join(line for (line,) in plan)
            for table in ("dag_run", "task_instance", "log"):
                assert f"Seq Scan on {table} " not in text, text

"""What a scrape shows: every value as it was read, and nothing that is too old or another process' to say."""

from __future__ import annotations

import threading
from http import HTTPStatus

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from airfleet_provider.agent_loops.lease import AgentsLease, LeaseTerm
from airfleet_provider.agent_loops.loop import Context, Loop, LoopThread
from airfleet_provider.contract.metrics import METRICS, START_BUCKETS
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.counters import Counters
from airfleet_provider.exporter.limits import LabelLimits
from airfleet_provider.exporter.render import STALE_S, UP_S, MetricsRoute, PlatformMetrics, name_loop
from clocks import MadeUpClock

HOSTILE = 'a"} 1\nairfleet_dags_overdue 99\n\\{x="\U0001f6a2'
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Shown:
    """A route over a board, as one agents process has it."""

    def __init__(self, *, active: bool = True) -> None:
        self.clock = MadeUpClock(now=1000)
        self.board, self.limits = Board(clock=self.clock), LabelLimits()
        lease = AgentsLease("host:1", clock=self.clock)
        lease.note(LeaseTerm(1, float("inf")) if active else None)
        threads = []
        for name, every_s in (("lease", 2.5), (name_loop("dags"), 30.0)):
            context = Context(name, {}, lease, threading.Event(), lambda _: pytest.fail("a scrape reads nothing"))
            threads.append(LoopThread(Loop(name, every_s, lambda _: None), context, lease, self.clock))
        self.lease = threads[0]
        self.route = MetricsRoute(PlatformMetrics(self.board, self.limits, threads, lease, "1.2.3"), self.clock)

    def read(self, accept: str = "text/plain") -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        self.clock.now += 2
        answer = self.route(accept)
        assert answer.status is HTTPStatus.OK
        parse = parse_openmetrics if "openmetrics" in answer.kind else parse_text
        families = list(parse(answer.body.decode()))
        return {
            (one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples
        }


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS])
def test_a_name_that_a_dag_s_author_chose_cannot_say_anything_else(accept: str) -> None:
    shown = Shown()
    shown.board.publish("dags", {"airfleet_dag_overdue_seconds": {(HOSTILE,): 7.0}})
    found = shown.read(accept)
    assert found["airfleet_dag_overdue_seconds", (("dag_id", HOSTILE),)] == 7.0
    assert not any(name == "airfleet_dags_overdue" for name, _ in found)


def test_a_histogram_adds_up_as_prometheus_wants_it() -> None:
    shown = Shown()
    counters = Counters(shown.limits)
    for seconds in (0.1, 0.2, 5.0, 5.1, 9999.0):
        counters.observe("airfleet_task_start_seconds", seconds, "default", "pool")
    shown.board.publish_counters("dags", counters.note_saved())
    found = shown.read()
    labels = (("pool", "pool"), ("queue", "default"))

    def count(bound: str) -> float:
        return found["airfleet_task_start_seconds_bucket", (("le", bound), *labels)]

    assert [count(bound) for bound in ("0.1", "0.25", "2.5", "5.0", "7.5", "+Inf")] == [1, 2, 2, 3, 4, 5]
    assert found["airfleet_task_start_seconds_count", labels] == 5
    assert found["airfleet_task_start_seconds_sum", labels] == pytest.approx(10009.4)
    assert 5.0 in START_BUCKETS, "the objective is the bound of a bucket"


def test_old_facts_are_not_shown_and_their_age_is() -> None:
    shown = Shown()
    shown.board.publish("dags", {"airfleet_dags_overdue": {(): 0.0}})
    assert ("airfleet_dags_overdue", ()) in shown.read()
    shown.clock.now += 4 * 30.0 - 5
    assert ("airfleet_dags_overdue", ()) in shown.read(), "not older than four intervals"
    shown.clock.now += STALE_S
    found = shown.read()
    assert ("airfleet_dags_overdue", ()) not in found
    assert found["airfleet_metrics_age_seconds", (("collector", "dags"),)] > 120


def test_a_server_that_hangs_is_not_up_although_no_statement_has_failed() -> None:
    shown = Shown()
    shown.lease.state.succeeded = shown.clock.now
    assert shown.read()["airfleet_database_up", ()] == 1
    shown.lease.state.busy_since = shown.clock.now
    shown.clock.now += UP_S
    assert shown.read()["airfleet_database_up", ()] == 0


def test_a_process_that_stands_by_says_nothing_of_the_platform() -> None:
    shown = Shown(active=False)
    shown.board.publish("dags", {"airfleet_dags_overdue": {(): 0.0}})
    found = shown.read()
    assert ("airfleet_dags_overdue", ()) not in found
    assert found["airfleet_agents_active", ()] == 0


def test_the_count_of_series_is_that_of_the_scrape() -> None:
    shown = Shown()
    shown.board.publish("dags", {"airfleet_dag_overdue_seconds": {(f"dag_{n}",): 0.0 for n in range(100)}})
    counters = Counters(shown.limits)
    counters.observe("airfleet_task_start_seconds", 1.0, "default", "pool")
    shown.board.publish_counters("events", counters.note_saved())
    found = shown.read()
    own = [name for name, _ in found if name.startswith("airfleet_")]
    assert found["airfleet_metrics_series", ()] == len(own)


def test_requests_at_the_same_time_get_the_same_text() -> None:
    shown = Shown()
    first = shown.route("text/plain")
    shown.board.publish("dags", {"airfleet_dags_overdue": {(): 1.0}})
    assert shown.route("text/plain") is first


def test_every_metric_can_be_shown() -> None:
    shown = Shown()
    counters = Counters(shown.limits)
    for metric in METRICS.values():
        labels = tuple(f"v{number}" for number, _ in enumerate(metric.labels))
        if metric.buckets:
            counters.observe(metric.name, 1.0, *labels)
        else:
            counters.put(metric.name, 1.0, *labels)
    shown.board.publish_counters("dags", counters.note_saved())
    assert len(shown.read()) > len(METRICS)

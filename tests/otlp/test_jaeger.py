"""Runs of a real platform in a real Jaeger, behind a collector: what its API shows is what the database has."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from deadline import wait_until
from fleets import Platform, make
from jaeger_node import JaegerNode

SECRET = "hunter2-of-the-conf"
DAG = "umsätze.täglich-1"
DAGS = f"""
import os
from datetime import timedelta
from pathlib import Path
from airflow.sdk import PokeReturnValue, dag, task
from airflow.sdk.exceptions import AirflowSkipException

@dag(dag_id={DAG!r}, schedule=None, catchup=False, is_paused_upon_creation=False, params={{"password": "x"}})
def odd():
    @task(retries=1, retry_delay=timedelta(seconds=1))
    def fails_once(**context):
        if context["ti"].try_number == 1:
            raise RuntimeError(context["dag_run"].conf["password"])

    @task
    def skips():
        raise AirflowSkipException

    @task
    def maps(number):
        return number

    @task.sensor(mode="reschedule", poke_interval=2)
    def looks_twice():
        before = Path(os.environ["AIRFLEET_PROJECT"]) / "looked"
        is_done = before.exists()
        before.touch()
        return PokeReturnValue(is_done=is_done)

    fails_once() >> [skips(), maps.expand(number=[1, 2, 3]), looks_twice()]

odd()
"""
TRIES = """
SELECT id::text AS id, task_id, map_index, try_number, state, start_date, end_date FROM task_instance
WHERE dag_id = %(dag)s AND run_id = %(run)s
UNION ALL
SELECT task_instance_id::text, task_id, map_index, try_number, state, start_date, end_date FROM task_instance_history
WHERE dag_id = %(dag)s AND run_id = %(run)s
"""


@pytest.fixture(scope="module")
def nodes(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[JaegerNode, JaegerNode]]:
    """Yield a collector that stores nothing, and the Jaeger that it hands all spans on to."""
    folder = tmp_path_factory.mktemp("jaeger")
    jaeger = JaegerNode(program, folder / "store")
    try:
        collector = JaegerNode(program, folder / "collector", to=jaeger.url)
        try:
            yield collector, jaeger
        finally:
            collector.stop()
    finally:
        jaeger.stop()


@pytest.fixture(scope="module")
def platform(nodes: tuple[JaegerNode, JaegerNode]) -> Iterator[tuple[Platform, JaegerNode]]:
    """Yield a platform, and the Jaeger that gets its traces through the collector."""
    collector, jaeger = nodes
    with make("traced") as one:
        (one.project / "dags" / "odd.py").write_text(DAGS)
        fleet = one.project / "fleet.yaml"
        fleet.write_text(f"{fleet.read_text()}tracing: {{endpoint: '{collector.url}'}}\n")
        one.up()
        one.wait_healthy()
        yield one, jaeger


def trigger(platform: Platform, dag: str) -> str:
    wait_until(lambda: platform.knows(dag), f"the Dag {dag}", timeout_s=300, seen=platform.describe)
    body = {"logical_date": None, "conf": {"password": SECRET}}
    return str(platform.call("POST", f"/dags/{dag}/dagRuns", json=body)["dag_run_id"])


def find_trace(platform: Platform, jaeger: JaegerNode, dag: str, run: str) -> list[Mapping[str, Any]]:
    """Return the spans of an ended run, as Jaeger's API has them."""
    trace_id = json.loads(platform.airfleet("trace", dag, run, "--json").stdout)["trace_id"]
    return list(
        wait_until(
            lambda: jaeger.find_trace(trace_id),
            f"the trace of {run}",
            timeout_s=300,
            every_s=0.5,
            seen=lambda: platform.log("agents")[-3000:],
        )
    )


def read_tags(span: Mapping[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def find_parent(span: Mapping[str, Any]) -> str:
    return next((one["spanID"] for one in span["references"] if one["refType"] == "CHILD_OF"), "")


def count_microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def query(platform: Platform, sql: str, **words: object) -> list[dict[str, Any]]:
    dsn = platform.state.read_dsn()
    assert dsn
    with psycopg.connect(dsn.reveal(), row_factory=dict_row) as connection:
        return connection.execute(sql, words).fetchall()


def test_jaeger_has_what_the_database_has(platform: tuple[Platform, JaegerNode]) -> None:
    one, jaeger = platform
    run = trigger(one, DAG)
    assert one.wait_run(DAG, run) == "success"
    found = find_trace(one, jaeger, DAG, run)
    [root] = [span for span in found if not find_parent(span)]
    assert root["operationName"] == f"dag_run.{DAG}"
    ids = {span["spanID"] for span in found}
    assert len(ids) == len(found)
    assert all(find_parent(span) in ids for span in found if span is not root)

    tries = query(one, TRIES, dag=DAG, run=run)
    assert len(tries) == 2 + 1 + 3 + 1
    owners = {
        (tags["airflow.task_id"], tags.get("airflow.map_index", -1), tags["airflow.try_number"]): span
        for span in found
        if find_parent(span) == root["spanID"] and (tags := read_tags(span))
    }
    assert set(owners) == {(row["task_id"], row["map_index"], row["try_number"]) for row in tries}
    for row in tries:
        owner = owners[row["task_id"], row["map_index"], row["try_number"]]
        tags = read_tags(owner)
        assert tags["airflow.state"] == row["state"]
        assert tags.get("error", False) is (row["state"] in ("failed", "up_for_retry"))
        [running] = [
            span for span in found if find_parent(span) == owner["spanID"] and span["operationName"] == "running"
        ]
        assert running["startTime"] == count_microseconds(row["start_date"])
        assert running["duration"] == count_microseconds(row["end_date"]) - count_microseconds(row["start_date"])
    looked = [span for span in found if span["operationName"] == "rescheduled"]
    assert [find_parent(span) for span in looked] == [owners["looks_twice", -1, 1]["spanID"]] * len(looked)
    assert looked
    assert SECRET not in json.dumps(found)


def test_a_run_that_is_cleared_adds_to_its_trace(platform: tuple[Platform, JaegerNode]) -> None:
    one, jaeger = platform
    run = trigger(one, "quick")
    assert one.wait_run("quick", run) == "success"
    before = {span["spanID"] for span in find_trace(one, jaeger, "quick", run)}
    body = {"dry_run": False, "dag_run_id": run, "only_failed": False, "reset_dag_runs": True}
    one.call("POST", "/dags/quick/clearTaskInstances", json=body)
    one.wait_run("quick", run)
    after = wait_until(
        lambda: (spans := find_trace(one, jaeger, "quick", run)) and len(spans) > len(before) and spans,
        "the spans of the second time",
        timeout_s=300,
        every_s=0.5,
    )
    assert len({span["spanID"] for span in after}) == 2 * len(before)
    assert len(after) == 2 * len(before)


def test_an_outage_of_the_collector_and_the_death_of_the_agents_lose_nothing(
    platform: tuple[Platform, JaegerNode], nodes: tuple[JaegerNode, JaegerNode]
) -> None:
    one, jaeger = platform
    collector, _ = nodes
    collector.stop()
    runs = [trigger(one, "quick") for _ in range(3)]
    for run in runs:
        assert one.wait_run("quick", run) == "success"  # no task waits for the collector
    wait_until(lambda: "does not take spans" in one.log("agents"), "a failed attempt", timeout_s=300)
    agents = one.pid("agents")
    assert agents
    os.kill(agents, signal.SIGKILL)
    collector.start()
    for run in runs:
        assert find_trace(one, jaeger, "quick", run)

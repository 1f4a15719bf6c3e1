"""A task attacks: it writes lines under the name of another Dag. The files, agent, index and database are real."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import psycopg2
import pytest

from airfleet_provider.log_index.lines import show_moment
from airfleet_provider.log_search import attempts
from log_hosts import LogHost
from servers import serve_own

TABLES = """
CREATE TABLE dag_run (dag_id text, run_id text);
CREATE TABLE task_instance (id uuid, dag_id text, run_id text, task_id text, map_index int DEFAULT -1, try_number int,
    state text, end_date timestamptz);
CREATE TABLE task_instance_history (task_instance_id uuid, dag_id text, run_id text, task_id text,
    map_index int DEFAULT -1, try_number int, state text, end_date timestamptz);
INSERT INTO dag_run VALUES ('payroll', 'r1')
"""
NOW = datetime.now(UTC)
ENDED = NOW - timedelta(minutes=30)


def make_id(moment: datetime) -> str:
    return str(uuid.UUID(int=(int(moment.timestamp() * 1000) << 80) | (7 << 76)))


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with serve_own() as one, psycopg.connect(one.dsn, autocommit=True) as connection:
        for statement in TABLES.split(";"):
            connection.execute(statement)
        sql = "INSERT INTO task_instance VALUES (%s, 'payroll', 'r1', %s, -1, %s, %s, %s)"
        made = make_id(ENDED - timedelta(minutes=5))
        connection.execute(sql, (made, "pay", 2, "success", ENDED))
        connection.execute(sql, (make_id(NOW - timedelta(minutes=1)), "check", 1, "running", None))
        history = "INSERT INTO task_instance_history VALUES (%s, 'payroll', 'r1', 'pay', -1, 1, 'up_for_retry', %s)"
        connection.execute(history, (make_id(ENDED - timedelta(minutes=9)), ENDED - timedelta(minutes=5)))
        yield one.dsn


def test_what_a_task_writes_under_the_name_of_another_dag_is_marked(dsn: str, tmp_path: Path) -> None:
    host = LogHost(tmp_path)

    def write(task: str, number: int, event: str, at: datetime) -> None:
        moment = show_moment(int(at.timestamp() * 1e6))
        path = f"tasks/dag_id=payroll/run_id=r1/task_id={task}/attempt={number}.log"
        host.write(path, f'{{"timestamp":"{moment}","level":"info","event":"{event}","logger":"task"}}')

    write("pay", 2, "real of the second try", ENDED - timedelta(minutes=1))
    write("pay", 1, "real of the first try", ENDED - timedelta(minutes=6))
    write("check", 1, "real of a try that runs", datetime.now(UTC))
    host.take()
    host.agent.turn()  # it sees that the files have no more
    # The attack: an ended try, dated back into its time; a try that never was; a time before the try.
    write("pay", 2, "forged and dated back", ENDED - timedelta(minutes=1))
    write("pay", 3, "forged for no try", NOW)
    write("check", 1, "forged before its time", NOW - timedelta(hours=1))
    host.take()
    connection = psycopg2.connect(dsn)
    hits = host.search()
    known = attempts.read(connection, hits)
    found = {hit.text: attempts.find_doubt(hit.at, hit.origin, known) for hit in hits}
    assert found == {
        "real of the second try": "",
        "real of the first try": "",
        "real of a try that runs": "",
        "forged and dated back": "written after this try had ended",
        "forged for no try": "the run has no such try",
        # The agent had seen the end of this file, so the line counts as written now, in the time of the try.
        "forged before its time": "",
    }

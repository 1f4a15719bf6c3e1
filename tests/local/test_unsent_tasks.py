"""A new scheduler sends the tasks that its predecessor had queued, however that one ended; on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest

from airfleet_provider.scheduler_ha.airflow_scheduler import AirflowScheduler
from airfleet_provider.scheduler_ha.db_session import DbSession
from servers import Server, serve

pytestmark = pytest.mark.local

# The columns of Airflow's tables that matter here, with Airflow's types.
TABLES = """
CREATE TABLE job (id int, job_type varchar, state varchar, latest_heartbeat timestamptz, end_date timestamptz);
CREATE TABLE task_instance (
    task_id varchar, state varchar, queued_dttm timestamptz, queued_by_job_id int, external_executor_id text,
    max_tries int
);
INSERT INTO job VALUES (1, 'SchedulerJob', 'running', now() - interval '3 s');
INSERT INTO task_instance VALUES
    ('just queued', 'queued', now(), 1, 'message', 2),
    ('queued long ago', 'queued', now() - interval '60 s', 1, 'message', 2),
    ('queued in an outage', 'queued', now() - interval '60 s', 1, 'unsent message', 2),
    ('running', 'running', now(), 1, 'message', 2),
    ('started after an outage', 'running', now() - interval '60 s', 1, 'unsent message', 2),
    ('of another', 'queued', now(), 9, 'message', 2);
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.mark.parametrize("state", ["running", "success", "failed"], ids=["killed", "stopped", "broken"])
def test_a_task_that_was_queued_and_may_not_be_sent_is_queued_again(server: Server, state: str) -> None:
    server.query("DROP TABLE IF EXISTS job, task_instance")
    server.query(TABLES)
    server.query("UPDATE job SET state = %s", state)

    def connect(_: str) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(server.dsn)
        connection.autocommit = True
        return connection

    session = DbSession(connect, "test", answer_in=lambda: 10.0)
    try:
        AirflowScheduler().retire(session)
    finally:
        session.close()
    messages = dict(server.query("SELECT task_id, external_executor_id FROM task_instance"))
    for task in ("just queued", "queued in an outage"):
        assert messages.pop(task) is None, "it is adopted, and waits for a message that nobody sent"
    assert set(messages.values()) == {"message"}
    assert server.query("SELECT max_tries FROM task_instance WHERE task_id = 'just queued'") == [(3,)]

"""No statement reads the rows of finished tasks and runs, however many there are: each has an index to go by."""

from __future__ import annotations

import re

import psycopg
import pytest

import servers
from airfleet_provider.exporter import breaker_waits, dags, database, events, saturation, state

LARGE = re.compile(r"Seq Scan on (?:task_instance|task_instance_history|dag_run|log|xcom|sla_instance)\b.*")
WORDS = {
    **{"firsts": [1], "lasts": [1], "top": 2, "most": 5, "ids": [1, 2], "lock": 1, "names": ["log"]},
    **{"after": "now", "until": "now"},
}
STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": text
    for module in (breaker_waits, dags, database, events, saturation, state)
    for name, text in module.SQL._texts.items()
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_has_an_index_to_go_by(server: servers.Server, name: str) -> None:
    with psycopg.connect(server.dsn) as connection:
        # The tables are small here. Now a whole table is read only where no index would do.
        connection.execute("SET LOCAL enable_seqscan = off")
        # `airfleet db care` drops this one.
        connection.execute("DROP INDEX IF EXISTS ti_heartbeat")
        rows = connection.execute(f"EXPLAIN {STATEMENTS[name]}", WORDS).fetchall()
        connection.rollback()
    plan = "\n".join(row[0] for row in rows)
    assert not LARGE.search(plan), plan

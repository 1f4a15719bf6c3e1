"""Whether the metadata database answers, asked of a real server that stops and starts."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import create_engine

import servers
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.execution_api.fast_path import Rows
from deadline import wait_until

LEFT = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'airfleet'"
CRATE = "SELECT name FROM crate WHERE id = %(id)s"


def test_a_database_answers_while_its_server_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serve() as server:
        url = server.dsn.replace("postgresql://", "postgresql+psycopg2://")
        monkeypatch.setattr("airflow.settings.engine", create_engine(url))
        assert metadata_db.answers()
        wait_until(lambda: server.query(LEFT) == [(0,)], "the end of the connection that was opened for the question")
        server.stop()
        assert not metadata_db.answers()
        server.start()
        assert metadata_db.answers()


def test_the_server_keeps_the_plan_of_a_statement_that_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serve() as server:
        url = server.dsn.replace("postgresql://", "postgresql+psycopg2://")
        monkeypatch.setattr("airflow.settings.engine", create_engine(url))
        with metadata_db.connect_prepared("airfleet test") as connection:
            for number in range(4):
                assert connection.execute("SELECT %(number)s + 1 AS next", {"number": number}).fetchone() == {
                    "next": number + 1
                }
            kept = connection.execute("SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%next'")
            assert len(kept.fetchall()) == 1
            assert connection.info.get_parameters()["application_name"] == "airfleet test"


def test_a_migration_below_a_kept_plan_costs_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own code answers that call. The one after it has a new connection."""
    with servers.serve() as server:
        url = server.dsn.replace("postgresql://", "postgresql+psycopg2://")
        monkeypatch.setattr("airflow.settings.engine", create_engine(url))
        rows = Rows(metadata_db.connect_prepared)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE crate AS SELECT 1 AS id, 'red'::text AS name")
            for _ in range(4):
                assert rows.ask(CRATE, {"id": 1}) == {"name": "red"}
            connection.execute("ALTER TABLE crate ALTER name TYPE varchar(20)")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            rows.ask(CRATE, {"id": 1})
        assert rows.ask(CRATE, {"id": 1}) == {"name": "red"}

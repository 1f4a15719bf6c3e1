"""Whether the metadata database answers, asked of a real server that stops and starts."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine

import servers
from airfleet_provider.compat.calls import metadata_db
from deadline import wait_until

LEFT = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'airfleet'"


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

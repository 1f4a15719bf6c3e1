"""The database with the results of Celery tasks, and the rights of each side there.

A worker may add a row, and neither read, change nor remove one. The scheduler may read and remove rows. Neither owns
the table, so neither can hang code on it. A row holds an id and one of a few words, nothing that has to be decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airfleet.spec.secrets import Secret
from airfleet_provider.contract.result_schema import STATUSES

DATABASE = "airfleet_results"
WRITER, READER = "airfleet_results_writer", "airfleet_results_reader"
# The database and the role, its owner, in which earlier versions kept results as pickles.
FORMER = "celery"


@dataclass(frozen=True, slots=True)
class ResultLogins:
    """The passwords of those who add results and of those who read them."""

    writer: Secret
    reader: Secret

    @property
    def by_role(self) -> Mapping[str, Secret]:
        return {WRITER: self.writer, READER: self.reader}


_STATUSES = ", ".join(f"'{status}'" for status in STATUSES)
# For a superuser connected to the database; may be run at any time. `airfleet_provider.executors.result_backend` reads
# and writes the table. The first result of a task counts: a message that is delivered again changes nothing.
SCHEMA = f"""\
BEGIN;
SET LOCAL search_path = pg_catalog;
SET LOCAL client_min_messages = warning;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA IF NOT EXISTS airfleet;
CREATE TABLE IF NOT EXISTS airfleet.task_result (
    task_id text PRIMARY KEY CHECK (length(task_id) <= 155),
    status text NOT NULL CHECK (status IN ({_STATUSES})),
    ended_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS task_result_ended_at ON airfleet.task_result (ended_at);
GRANT USAGE ON SCHEMA airfleet TO {WRITER}, {READER};
REVOKE ALL ON airfleet.task_result FROM PUBLIC, {WRITER}, {READER};
GRANT INSERT (task_id, status) ON airfleet.task_result TO {WRITER};
GRANT SELECT, DELETE ON airfleet.task_result TO {READER};
COMMIT;
"""

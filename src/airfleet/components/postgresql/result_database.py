"""The database with the results of Celery tasks, and the rights of workers and schedulers in it (ADR 31).

A worker may add rows, but not read, change or delete any. The scheduler may read and delete rows. Neither owns the
table, so neither can attach a trigger to it. A row holds an id and one of a few words: a reader decodes no object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airfleet.spec.secrets import Secret
from airfleet_provider.contract.result_schema import STATUSES

DATABASE = "airfleet_results"
WRITER, READER = "airfleet_results_writer", "airfleet_results_reader"
# The database of earlier versions, which kept results as pickles, and the role that owns it.
FORMER = "celery"


@dataclass(frozen=True, slots=True)
class ResultLogins:
    """The passwords of the database roles that add results and that read them."""

    writer: Secret
    reader: Secret

    @property
    def by_role(self) -> Mapping[str, Secret]:
        return {WRITER: self.writer, READER: self.reader}


_STATUSES = ", ".join(f"'{status}'" for status in STATUSES)
# A superuser who is connected to the database may run this at any time. `airfleet_provider.executors.result_backend`
# reads and writes the table. The first result of a task counts: a message that is delivered again changes nothing.
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

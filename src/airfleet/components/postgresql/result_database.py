"""The database with the results of Celery tasks, and the rights of workers and schedulers in it (ADR 31).

A worker may add rows, but not read, change or delete any. The scheduler may read and delete rows. Neither owns the
table, so neither can attach a trigger to it. A row holds an id and one of a few words: a reader decodes no object.
The migrations in `airfleet_provider.contract.migrations.results` make the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airfleet.spec.secrets import Secret

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


@dataclass(frozen=True, slots=True)
class ResultNames:
    """The names of the result database, of the role that adds results, and of the role that reads them."""

    database: str = DATABASE
    writer: str = WRITER
    reader: str = READER


def name_beside(metadata: str) -> ResultNames:
    """Return the names on a server that somebody else runs, where another fleet may have a metadata database too."""
    return ResultNames(f"{metadata}_results", f"{metadata}_results_writer", f"{metadata}_results_reader")


def render_rights(names: ResultNames) -> str:
    """Return SQL that the owner of the database, connected to it, may run at any time after the migrations."""
    writer, reader = names.writer, names.reader
    return f"""\
BEGIN;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA airfleet TO {writer}, {reader};
REVOKE ALL ON airfleet.task_result FROM PUBLIC, {writer}, {reader};
GRANT INSERT (task_id, status) ON airfleet.task_result TO {writer};
GRANT SELECT, DELETE ON airfleet.task_result TO {reader};
COMMIT;
"""


RIGHTS = render_rights(ResultNames())

"""`airflow airfleet migrate`: the migrations of airfleet's own tables."""

from __future__ import annotations

import argparse
from contextlib import closing

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.migrations.runner import MigrationError, MigrationKind


def run_command(arguments: argparse.Namespace) -> None:
    """Apply the migrations that the database lacks: those before new code, or with `--post` those after old code."""
    kind = MigrationKind.POST if arguments.post else MigrationKind.PRE
    with closing(metadata_db.connect()) as connection:
        try:
            applied = runner.migrate(runner.execute_on(connection), runner.read_own(), kinds=(kind,))
        except MigrationError as refusal:
            raise SystemExit(f"airfleet: {refusal}") from None
    for one in applied:
        print(f"applied {one.title} to airfleet's own tables")

"""A metadata database of its own for one process, which may be a fork of a process that has loaded a platform's."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

# Packages with tables in the metadata database.
SCHEMAS = ("apache-airflow-core", "apache-airflow-providers-fab")
LEVELS = "AIRFLOW__LOGGING__NAMESPACE_LEVELS"


def forget_configuration(*, quiet: Sequence[str], silent: Sequence[str]) -> None:
    """Read Airflow's defaults and the environment from now on, and no airflow.cfg. Connect to that database.

    The loggers `quiet`, and those below them, log warnings and errors only, and `silent` none of both. The environment
    may name other levels.
    """
    from airflow import settings  # noqa: PLC0415 - slow to import
    from airflow.configuration import conf  # noqa: PLC0415
    from airflow.sdk.configuration import conf as task_conf  # noqa: PLC0415

    settings.dispose_orm(do_log=False)
    for one in (conf, task_conf):
        for section in one.sections():
            one.remove_section(section)
    levels = {**dict.fromkeys(quiet, "WARNING"), **dict.fromkeys(silent, "CRITICAL")}
    os.environ.setdefault(LEVELS, " ".join(f"{name}={level}" for name, level in levels.items()))
    settings.configure_vars()
    settings.configure_logging()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)  # the setting reaches loggers of structlog only
    settings.configure_orm()
    settings.configure_adapters()


def create(database: Path, templates: Path) -> None:
    """Fill the database that the settings name with empty tables. A copy of them is kept for the next call."""
    from airflow.utils import db  # noqa: PLC0415 - slow to import

    template = templates / f"{'-'.join(importlib.metadata.version(name) for name in SCHEMAS)}.db"
    if not template.exists():
        db.initdb()
        unfinished = database.with_suffix(".template")
        # A copy of the file would lack what is in the write-ahead log still.
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(unfinished)) as target:
            source.backup(target)
        unfinished.rename(template)
        for former in set(templates.glob("*.db")) - {template}:
            former.unlink(missing_ok=True)
        return
    shutil.copyfile(template, database)

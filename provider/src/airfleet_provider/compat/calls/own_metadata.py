"""A metadata database of its own for one process, which may be a fork of a process that has loaded a platform's."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

# Packages with tables in the metadata database.
SCHEMAS = ("apache-airflow-core", "apache-airflow-providers-fab")
LEVELS = "AIRFLOW__LOGGING__NAMESPACE_LEVELS"
# Puts what a function makes of each text that Airflow's modules keep in their names in its place.
Change = Callable[[Callable[[str], str]], None]


def forget_configuration(change_constants: Change, *, quiet: Sequence[str], silent: Sequence[str]) -> None:
    """Read Airflow's defaults and the environment from now on, and no airflow.cfg. Connect to that database.

    The loggers `quiet`, and those below them, log warnings and errors only, and `silent` none of both. The environment
    may name other levels.
    """
    from airflow import configuration, settings  # noqa: PLC0415 - slow to import
    from airflow.configuration import conf  # noqa: PLC0415
    from airflow.sdk.configuration import conf as task_conf  # noqa: PLC0415

    settings.dispose_orm(do_log=False)
    former = (settings.SQL_ALCHEMY_CONN, settings.SQL_ALCHEMY_CONN_ASYNC)
    _move_home(configuration.AIRFLOW_HOME, configuration.get_airflow_home(), (conf, task_conf), change_constants)
    for one in (conf, task_conf):
        for section in one.sections():
            one.remove_section(section)
    levels = {**dict.fromkeys(quiet, "WARNING"), **dict.fromkeys(silent, "CRITICAL")}
    os.environ.setdefault(LEVELS, " ".join(f"{name}={level}" for name, level in levels.items()))
    settings.configure_vars()
    # Some modules keep what they read of the configuration when they were imported.
    moved = dict(zip(former, (settings.SQL_ALCHEMY_CONN, settings.SQL_ALCHEMY_CONN_ASYNC), strict=True))
    change_constants(lambda text: moved.get(text, text))
    settings.configure_logging()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)  # the setting reaches loggers of structlog only
    settings.configure_orm()
    settings.configure_adapters()


def _move_home(former: str, home: str, parsers: Iterable[Any], change_constants: Change) -> None:
    """Let each path in Airflow's former home be one in the home that the environment names now."""

    def move(text: str, before: str, now: str) -> str:
        return now + text[len(before) :] if text == before or text.startswith(f"{before}/") else text

    change_constants(lambda text: move(text, former, home))
    # A parser's defaults have a percent sign twice.
    escaped = former.replace("%", "%%"), home.replace("%", "%%")
    for parser in parsers:
        for _, defaults in parser._config_sources_for_as_dict:
            if defaults is parser:
                continue
            for section in defaults.sections():
                for key, value in defaults.items(section, raw=True):
                    if (moved := move(value, *escaped)) != value:
                        defaults.set(section, key, moved)


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

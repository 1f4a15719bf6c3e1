"""Airflow's logging configuration, with the index as the place where logs of tasks are that their host lost.

`[logging] logging_config_class` names LOGGING_CONFIG. Airflow reads REMOTE_TASK_LOG beside it, in each process that
handles logs of tasks. So the import is light, and only reading a log opens the index.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG
from airflow.config_templates.airflow_local_settings import REMOTE_TASK_LOG as CONFIGURED

from airfleet_provider.compat.calls import config

if TYPE_CHECKING:
    from airfleet_provider.log_index.store import LogReader

log = logging.getLogger(__name__)

LOGGING_CONFIG = DEFAULT_LOGGING_CONFIG


class IndexedTaskLogs:
    """Reads the log of a try from the index if its file is not on this host. It writes nothing: the log agent does."""

    # Airflow installs these in each process of a task.
    processors: tuple[Any, ...] = ()

    def __init__(self, tasks: Path, index: Path) -> None:
        """Read files below `tasks`, or the index in the folder `index`."""
        self._tasks = tasks
        self._index = index
        self._reader: LogReader | None = None

    def upload(self, path: object, ti: object = None) -> None:
        """Do nothing: the log agent has taken the lines while they were written."""

    def stream(self, relative_path: str, ti: Any) -> tuple[list[str], list[Iterator[str]]]:  # noqa: ANN401 - Airflow's
        """Return where the log of a try was found, and its lines: a stream for each file that it had.

        If the file is on this host, Airflow reads it itself: it has what was written in the last second too.
        """
        if (self._tasks / relative_path).exists():
            return [], []
        from airfleet_provider.log_index.origins import find_task_origin  # noqa: PLC0415 - as above
        from airfleet_provider.log_index.store import StoreError  # noqa: PLC0415

        origin = find_task_origin("", relative_path)
        if not origin.dag:
            return [], []
        try:
            reader = self._open()
            sources = reader.find_sources(origin)
            hosts = sorted({source.rsplit(":", 1)[0] for source in sources})
            streams = [reader.read_whole(origin, source) for source in sources]
        except StoreError as error:
            log.warning("cannot read the index of logs: %s", error)
            return [f"the index of logs cannot be read: {error}"], []
        return [f"the index of logs: lines from {host}" for host in hosts], streams

    def read(self, relative_path: str, ti: Any) -> tuple[list[str], list[str] | None]:  # noqa: ANN401 - Airflow's
        """Return the same for callers that take no streams."""
        sources, streams = self.stream(relative_path, ti)
        return sources, ["\n".join(lines) for lines in streams] or None

    def _open(self) -> LogReader:
        if self._reader is None:
            from airfleet_provider.log_index.day_indexes import DayIndexReader  # noqa: PLC0415 - it is 10 MB

            self._reader = DayIndexReader(self._index)
        return self._reader


def _find_remote_log() -> Any:  # noqa: ANN401 - a store of a provider of Airflow, or this one
    """Return where Airflow's own settings say that logs are, or the index if they say nothing."""
    if CONFIGURED is not None or config.read_setting("logging", "remote_logging").lower() == "true":
        return CONFIGURED
    index = config.read_setting("airfleet", "log_index")
    return IndexedTaskLogs(Path(config.read_setting("logging", "base_log_folder")), Path(index)) if index else None


REMOTE_TASK_LOG = _find_remote_log()

"""Airflow's logging configuration, with the index as the place where logs of tasks are that their host lost.

`[logging] logging_config_class` names LOGGING_CONFIG. Airflow reads REMOTE_TASK_LOG beside it, in each process that
handles logs of tasks. So the import is light, and only reading a log opens the index.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG
from airflow.config_templates.airflow_local_settings import REMOTE_TASK_LOG as CONFIGURED

from airfleet_provider.compat.calls import config
from airfleet_provider.contract import log_store_config
from airfleet_provider.log_search import readers

if TYPE_CHECKING:
    from airfleet_provider.log_index.lines import LineOrigin
    from airfleet_provider.log_index.store import LogReader

log = logging.getLogger(__name__)

LOGGING_CONFIG = DEFAULT_LOGGING_CONFIG

# The index has the last lines of a try some seconds after its end. Until then, the host of the try has more.
ENDED = timedelta(seconds=10)
# A running try that reported within this time is on a host that serves its log live.
REPORTED = timedelta(seconds=60)


class IndexedTaskLogs:
    """Reads the log of a try from the index if its file is not on this host. It writes nothing: the log agent does."""

    # Airflow installs these in each process of a task.
    processors: tuple[Any, ...] = ()

    def __init__(
        self, tasks: Path, open_reader: Callable[[], LogReader | None], *, has_hosts: bool, now: Callable[[], datetime]
    ) -> None:
        """Read files below `tasks`, or the index that `open_reader` opens. With `has_hosts`, other hosts serve logs."""
        self._tasks = tasks
        self._open_reader = open_reader
        self._has_hosts = has_hosts
        self._now = now
        self._reader: LogReader | None = None

    def upload(self, path: object, ti: object = None) -> None:
        """Do nothing: the log agent has taken the lines while they were written."""

    def stream(self, relative_path: str, ti: Any) -> tuple[list[str], list[Iterator[str]]]:  # noqa: ANN401 - Airflow's
        """Return where the log of a try was found, and its lines: a stream for each file that it had.

        If the file is on this host, or on one that serves it now, Airflow reads it there: it has what was written in
        the last second too.
        """
        if (self._tasks / relative_path).exists() or (self._has_hosts and self._is_served(ti)):
            return [], []
        from airfleet_provider.log_index.origins import find_task_origin  # noqa: PLC0415 - as above
        from airfleet_provider.log_index.store import LogStoreError  # noqa: PLC0415

        origin = find_task_origin("", relative_path)
        if not origin.dag:
            return [], []
        try:
            if (reader := self._open()) is None:
                return [], []
            sources = reader.find_sources(origin)
            hosts = sorted({source.rsplit(":", 1)[0] for source in sources})
            streams = [_read(reader, origin, source) for source in sources]
        except LogStoreError as error:
            log.warning("cannot read the index of logs: %s", error)
            return [f"the index of logs cannot be read: {error}"], []
        return [f"the index of logs: lines from {host}" for host in hosts], streams

    def read(self, relative_path: str, ti: Any) -> tuple[list[str], list[str] | None]:  # noqa: ANN401 - Airflow's
        """Return the same for callers that take no streams."""
        sources, streams = self.stream(relative_path, ti)
        return sources, ["\n".join(lines) for lines in streams] or None

    def _open(self) -> LogReader | None:
        if self._reader is None:
            self._reader = self._open_reader()
        return self._reader

    def _is_served(self, ti: Any) -> bool:  # noqa: ANN401 - Airflow's
        ended, reported = getattr(ti, "end_date", None), getattr(ti, "last_heartbeat_at", None)
        if ended is not None:
            return bool(self._now() - ended < ENDED)
        return reported is not None and bool(self._now() - reported < REPORTED)


def _read(reader: LogReader, attempt: LineOrigin, source: str) -> Iterator[str]:
    """Yield the lines of a file of a try. If the index goes away meanwhile, the last line says so."""
    from airfleet_provider.log_index.store import LogStoreError, read_whole  # noqa: PLC0415 - as above

    try:
        yield from read_whole(reader, attempt, source)
    except LogStoreError as error:
        log.warning("cannot read the index of logs: %s", error)
        yield f"airfleet: the rest of this log cannot be read now: {error}"


def _find_remote_log() -> Any:  # noqa: ANN401 - a store of a provider of Airflow, or this one
    """Return where Airflow's own settings say that logs are, or the index if they say nothing."""
    if CONFIGURED is not None or config.read_setting("logging", "remote_logging").lower() == "true":
        return CONFIGURED
    if not readers.is_there():
        return None
    return IndexedTaskLogs(
        Path(config.read_setting("logging", "base_log_folder")),
        readers.open_reader,
        has_hosts=bool(config.read_setting("airfleet", log_store_config.STORES)),
        now=lambda: datetime.now(UTC),
    )


REMOTE_TASK_LOG = _find_remote_log()

"""An api-server asks only hosts of the fleet for the logs of a task.

A task reports the host name that it runs on with its own token, and Airflow asks whatever that names: another program,
another port, or a service of a cloud, whose answer is then shown as the log.
"""

from __future__ import annotations

import functools
import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airfleet_provider.compat.calls import config

log = logging.getLogger(__name__)


class StrangerError(ValueError):
    """A task names a host as its own that serves no logs of this fleet."""


def check(url: str, file: Path) -> None:
    """Raise StrangerError unless a file lists, as HOST:PORT, the server that a URL names; unreadable, it lists none."""
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        log.exception("cannot read which hosts serve logs")
        known = []
    server = urlsplit(url).netloc
    if server not in known:
        raise StrangerError(f"{server!r} serves no logs of this fleet; the task named it as its host")


def restrict() -> None:
    """Let Airflow ask for logs only whom `[airfleet] log_servers` lists; without that setting, whomever it would."""
    from airflow.utils.log import file_task_handler  # noqa: PLC0415 - an api-server only needs it

    file = config.read_setting("airfleet", "log_servers")
    original = file_task_handler._fetch_logs_from_service
    if not file or hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def fetch(url: str, log_relative_path: str) -> Any:  # noqa: ANN401 - a response of requests
        # Read each time: a host that is added restarts no api-server.
        check(url, Path(file))
        return original(url, log_relative_path)

    file_task_handler._fetch_logs_from_service = fetch

"""An api-server asks only hosts of the fleet for the logs of a task.

A task reports the host name that it runs on with its own token, and Airflow asks whatever that names: another program,
another port, or a service of a cloud, whose answer is then shown as the log.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airfleet_provider.compat.calls import config
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Counts

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
    """Let Airflow ask for logs only whom `[airfleet] log_servers` lists; without that setting, whomever it would.

    Raises UnfitAirflowError where Airflow asks in another way.
    """
    if file := config.read_setting("airfleet", "log_servers"):
        apply(PATCH, Path(file))


def _make(original: Any, file: Path) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    @functools.wraps(original)
    def fetch(url: str, log_relative_path: str) -> Any:  # noqa: ANN401 - a response of requests
        # Read each time: a host that is added restarts no api-server.
        check(url, file)
        return original(url, log_relative_path)

    return (fetch,)


_HANDLER = "airflow.utils.log.file_task_handler"
PATCH = Patch(
    name="log-requests",
    targets=(f"{_HANDLER}:_fetch_logs_from_service",),
    requires=(
        Accepts(f"{_HANDLER}:_fetch_logs_from_service", named=("url", "log_relative_path")),
        Counts(_HANDLER, "_fetch_logs_from_service(", 2),  # its definition, and one call
    ),
    make=_make,
    without="a task can make an api-server send requests to any host, and show the answer as its log",
    processes="api-servers of a fleet",
    is_required=True,
)

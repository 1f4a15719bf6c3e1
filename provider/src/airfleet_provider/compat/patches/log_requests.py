"""An api-server requests logs of a task only from hosts of the fleet.

A task reports its host name with its own token, and Airflow sends a request to that name. A hostile task could name
another program, another port, or a service of a cloud, and Airflow would show the answer as the log.

A task runs as the same user as the log server of its host, so it can end that server and take its port. So an answer
is only text: an api-server does not follow a redirect of a log server.

Airflow asks without TLS. The file that lists the hosts says how to reach each of them, and which authorities have to
vouch for it.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airfleet_provider.compat.calls import config
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Counts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogServerAddress:
    """How to reach a log server: its scheme, host and port, and with TLS the file of the authorities."""

    url: str
    authorities: str = ""


# The log server that this thread asks now.
_asked: ContextVar[LogServerAddress | None] = ContextVar("asked", default=None)


class StrangerError(ValueError):
    """A task, or a log server, sends an api-server to a host that serves no logs of this fleet."""


def find(url: str, file: Path) -> LogServerAddress:
    """Return how to reach the server of a URL, which a file lists as HOST:PORT. A file that cannot be read lists none.

    Raises:
        StrangerError: The file does not list the server.
    """
    try:
        known = {server: LogServerAddress(**how) for server, how in json.loads(file.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        log.exception("cannot read the list of hosts that serve logs")
        known = {}
    server = urlsplit(url).netloc
    if server not in known:
        raise StrangerError(f"{server!r} serves no logs of this fleet; the task named it as its host")
    return known[server]


def restrict() -> None:
    """Let Airflow request logs only from the servers that `[airfleet] log_servers` lists, if that is set.

    Raises:
        UnfitAirflowError: This Airflow requests logs in another way.
    """
    if file := config.read_setting("airfleet", "log_servers"):
        apply(PATCH, Path(file))


@contextmanager
def _ask(server: LogServerAddress) -> Iterator[None]:
    token = _asked.set(server)
    try:
        yield
    finally:
        _asked.reset(token)


def _make(original: Any, find_target: Any, merge: Any, file: Path) -> Sequence[Any]:  # noqa: ANN401 - Airflow's, requests'
    @functools.wraps(original)
    def fetch(url: str, log_relative_path: str) -> Any:  # noqa: ANN401 - a response of requests
        # The file is read at each request, so that a new host restarts no api-server.
        server = find(url, file)
        way, parts = urlsplit(server.url), urlsplit(url)
        with _ask(server):
            return original(parts._replace(scheme=way.scheme, netloc=way.netloc).geturl(), log_relative_path)

    @functools.wraps(find_target)
    def find_target_or_refuse(self: Any, resp: Any) -> Any:  # noqa: ANN401 - a session and a response of requests
        target = find_target(self, resp)
        if target and _asked.get():
            raise StrangerError(f"the log server at {resp.url!r} redirects the request, and log servers never do")
        return target

    @functools.wraps(merge)
    def merge_and_verify(self: Any, *words: Any, **named: Any) -> Any:  # noqa: ANN401 - of requests
        settings = merge(self, *words, **named)
        if (server := _asked.get()) and server.authorities:
            # Neither the authorities of the system nor a variable of the environment say whom a fleet believes.
            settings["verify"] = server.authorities
        return settings

    return fetch, find_target_or_refuse, merge_and_verify


_HANDLER = "airflow.utils.log.file_task_handler"
_REDIRECT = "requests.sessions:SessionRedirectMixin.get_redirect_target"
_SETTINGS = "requests.sessions:Session.merge_environment_settings"
PATCH = Patch(
    name="log-requests",
    targets=(f"{_HANDLER}:_fetch_logs_from_service", _REDIRECT, _SETTINGS),
    requires=(
        Accepts(f"{_HANDLER}:_fetch_logs_from_service", named=("url", "log_relative_path")),
        Counts(_HANDLER, "_fetch_logs_from_service(", 2),  # its definition, and one call
        Counts(_HANDLER, "requests.get(", 1),
        Accepts(_REDIRECT, positional=("self", "resp")),
        Contains(
            "requests.sessions:Session.request",
            ("settings = self.merge_environment_settings(", "send_kwargs.update(settings)"),
        ),
        Contains("requests.sessions:SessionRedirectMixin.resolve_redirects", ("self.get_redirect_target(resp)",)),
    ),
    make=_make,
    without="a task can make an api-server send requests to any host, and show the answer as its log; logs of other"
    " hosts cannot be read, or cross the network in clear",
    processes="api-servers of a fleet",
    is_required=True,
)

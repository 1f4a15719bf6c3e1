"""Asks the HTTP servers of the platform whether they answer."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from airfleet_provider.agent_loops.loop import Context
from airfleet_provider.exporter.board import Board

NAME = "probes"
ANSWER_S = 5.0
MOST_AT_ONCE = 8
METRIC = "airfleet_component_up"


@dataclass(frozen=True, slots=True)
class ProbedServer:
    """A server: its component, its host, and the URL that answers below 500 while it is well."""

    component: str
    host: str
    url: str

    @classmethod
    def of_json(cls, value: Mapping[str, str]) -> ProbedServer:
        return cls(value["component"], value["host"], value["url"])


class Probes:
    """The loop that asks. Only the active process runs it."""

    def __init__(self, board: Board, probes: Sequence[ProbedServer], authorities: str | None) -> None:
        """`authorities` is the file with the certificates that servers with TLS are believed by."""
        self._board = board
        self._probes = probes
        self._authorities = authorities

    def once(self, context: Context) -> None:
        """Ask all servers side by side and publish which of them answered."""
        # The file is read each time, as it changes while certificates are exchanged.
        secure = ssl.create_default_context(cafile=self._authorities)
        # A proxy of the environment is for the world outside.
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=secure))
        opener = urllib.request.build_opener(*handlers)
        with ThreadPoolExecutor(max(1, min(MOST_AT_ONCE, len(self._probes))), thread_name_prefix=NAME) as pool:
            answers = list(pool.map(lambda probe: _ask(opener, probe), self._probes))
        self._board.publish(
            NAME,
            {METRIC: {(one.component, one.host): float(up) for one, up in zip(self._probes, answers, strict=True)}},
        )


def _ask(opener: urllib.request.OpenerDirector, probe: ProbedServer) -> bool:
    try:
        with opener.open(probe.url, timeout=ANSWER_S) as answer:
            return bool(answer.status < 500)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, ValueError, http.client.HTTPException):
        return False

"""What the log store answers: to agents, which prove to be hosts of the fleet, and to those who may search."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from queue import Empty, LifoQueue
from typing import Any

from airfleet_provider.agent_loops.server import Handlers, HttpAnswer, Request
from airfleet_provider.log_index import wire
from airfleet_provider.log_index.store import LogReader, LogStoreError
from airfleet_provider.log_store.keeper import Keeper

log = logging.getLogger(__name__)

# Searches at once. Each uses a core, and the host has the lines of all others to take.
SEARCHES = 4
# Seconds for which a search waits for others.
WAIT_S = 10.0
# Lines of one answer.
MOST_HITS = 100_000
_READER = "Bearer "


class LogStoreService:
    """Keeps lines, and searches them. Any number of threads use it."""

    def __init__(self, keeper: Keeper, open_reader: Callable[[], LogReader], tokens: Iterable[str]) -> None:
        """Keep lines with `keeper`, and search with what `open_reader` opens for who shows one of the tokens."""
        self._keeper = keeper
        self._tokens = tuple(tokens)
        self._readers: LifoQueue[LogReader] = LifoQueue()
        for _ in range(SEARCHES):
            self._readers.put(open_reader())

    @property
    def handlers(self) -> Handlers:
        """What the server calls for which path."""
        return {
            ("POST", wire.LINES): self._take_lines,
            ("POST", wire.SEARCH): lambda request: self._answer(request, _search),
            ("POST", wire.SOURCES): lambda request: self._answer(request, _find_sources),
            ("POST", wire.PAGE): lambda request: self._answer(request, _read_page),
        }

    def _take_lines(self, request: Request) -> HttpAnswer:
        if not request.peer:
            return _refuse(HTTPStatus.FORBIDDEN, "only a host of this fleet sends lines")
        try:
            self._keeper.keep(wire.unpack_lines(request.body, request.peer))
        except wire.WireError as error:
            log.error("%s sends what is refused: %s", request.peer, error)
            return _refuse(HTTPStatus.BAD_REQUEST, str(error))
        except LogStoreError as error:
            return _refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return HttpAnswer.of_json({})

    def _answer(self, request: Request, find: Callable[[LogReader, Mapping[str, Any]], object]) -> HttpAnswer:
        given = request.headers.get("Authorization", "").removeprefix(_READER).encode()
        if not any(hmac.compare_digest(given, token.encode()) for token in self._tokens):
            return _refuse(HTTPStatus.FORBIDDEN, "only who has the token of this fleet searches")
        try:
            body = json.loads(request.body)
            with self._borrow() as reader:
                return HttpAnswer.of_json(find(reader, body))
        except LogStoreError as error:
            return _refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return _refuse(HTTPStatus.BAD_REQUEST, f"no question: {type(error).__name__}: {error}")

    @contextmanager
    def _borrow(self) -> Iterator[LogReader]:
        try:
            reader = self._readers.get(timeout=WAIT_S)
        except Empty:
            raise LogStoreError(f"{SEARCHES} searches have run for {WAIT_S:g} s") from None
        try:
            yield reader
        finally:
            self._readers.put(reader)


def _search(reader: LogReader, body: Mapping[str, Any]) -> object:
    question, most = wire.read_question(body)
    return wire.show_answer(reader.search(question, min(most, MOST_HITS)))


def _find_sources(reader: LogReader, body: Mapping[str, Any]) -> Sequence[str]:
    attempt, _, _ = wire.read_attempt(body)
    return list(reader.find_sources(attempt))


def _read_page(reader: LogReader, body: Mapping[str, Any]) -> Sequence[tuple[int, str]]:
    return list(reader.read_page(*wire.read_attempt(body)))


def _refuse(status: HTTPStatus, why: str) -> HttpAnswer:
    return HttpAnswer(status, "text/plain; charset=utf-8", f"{why}\n".encode())

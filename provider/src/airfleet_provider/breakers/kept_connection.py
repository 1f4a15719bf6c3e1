"""The connection of a gate, which outlives an error of the database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class KeptConnection:
    """A connection of psycopg2, opened by `connect` when it is wanted first, and again after it was dropped."""

    connect: Callable[[], Any]
    opened: Any = None

    def open(self) -> Any:  # noqa: ANN401 - a psycopg2 connection, which has no types
        """Return the open connection. Raises what `connect` raises."""
        if self.opened is None:
            self.opened = self.connect()
        return self.opened

    def drop(self) -> None:
        """Close the connection, if it is open and the database still lets it be closed; never raise."""
        opened, self.opened = self.opened, None
        if opened is not None:
            with suppress(Exception):
                opened.close()

"""A secrets back end that has no values and reports every lookup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LookupRecorder:
    """Calls `on_lookup` with "variable" or "connection" and the key. An exception of `on_lookup` ends the lookup."""

    on_lookup: Callable[[str, str], None]

    def get_variable(self, key: str, team_name: str | None = None) -> None:
        self.on_lookup("variable", key)

    def get_connection(self, conn_id: str, team_name: str | None = None) -> None:
        self.on_lookup("connection", conn_id)

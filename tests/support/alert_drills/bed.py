"""What is broken, and what watches it: the part that a platform on this machine and a fleet have in common."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from alert_drills.watcher import Watcher
from deadline import PATIENCE_S, wait_until
from receivers import HttpReceiver, MailReceiver


class Bed(ABC):
    """Waits and prints. `kept` has what lasts until the end of the bed. When `stopping` is set, no wait goes on."""

    def __init__(self, mail: MailReceiver, http: HttpReceiver) -> None:
        self.watcher = Watcher(self.list_firing, http, mail)
        self.kept = contextlib.ExitStack()
        self.stopping = threading.Event()

    @abstractmethod
    def ask_prometheus(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return what Prometheus' API answers; None if it does not answer."""

    @abstractmethod
    def describe(self) -> str:
        """Return what a message about a wait in vain shows."""

    def list_firing(self) -> list[Mapping[str, str]] | None:
        """Return the labels of the alerts that fire in Prometheus; None if it does not answer."""
        found = self.ask_prometheus("alerts")
        return found and [one["labels"] for one in found["alerts"] if one["state"] == "firing"]

    def query(self, expr: str) -> float | None:
        """Return the first value of an instant query; None if there is none."""
        found = self.ask_prometheus(f"query?{httpx.QueryParams(query=expr)}")
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    def say(self, line: str) -> None:
        """Print a line of progress."""
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    def wait(self, condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until a condition holds.

        Raises:
            AssertionError: It does not hold in time.
        """
        wait_until(
            lambda: self.stopping.is_set() or condition(), what, timeout_s=timeout_s, every_s=0.25, seen=self.describe
        )
        assert not self.stopping.is_set(), "the drills were stopped"

    def wait_for(self, find: Callable[[], float | None], timeout_s: float) -> float | None:
        """Return what `find` returns in the end; None if it returns nothing in time."""
        deadline = time.monotonic() + timeout_s
        while (found := find()) is None and time.monotonic() < deadline and not self.stopping.wait(0.25):
            pass
        return found

"""A host with logs, its agent and its index, for tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from airfleet_provider.contract.redaction import Redaction
from airfleet_provider.log_agent.agent import LogAgent, Places
from airfleet_provider.log_agent.journal import Journal
from airfleet_provider.log_agent.positions import Positions
from airfleet_provider.log_index.day_indexes import DayIndexReader, DayIndexWriter
from airfleet_provider.log_index.lines import Line, LineOrigin
from airfleet_provider.log_index.store import Hit, LogQuery, LogStoreError, LogWriter

TRY = "dag_id=sales/run_id=manual__1/task_id=load/attempt=1.log"


class BrokenWriter(DayIndexWriter):
    """A writer that fails, or is killed, at the moment that a test names."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, time.time)
        self.fail_before_commit = False
        self.after_commit: Callable[[], None] = lambda: None

    def commit(self) -> None:
        if self.fail_before_commit:
            self.close()
            raise LogStoreError("no space left on device")
        super().commit()
        self.after_commit()


class LogHost:
    """The logs of a host below a folder. `restart` is what happens after kill -9: only the disk is left."""

    def __init__(
        self,
        root: Path,
        *,
        most_bytes: int = 1 << 20,
        redact: Sequence[str] = (),
        journal: Sequence[str] = (),
        make_store: Callable[[], LogWriter] | None = None,
    ) -> None:
        """Write to what `make_store` returns, or to an index of its own. `journal` is the command that reads one."""
        self.root = root
        self.name = "host1"
        self.journal = journal
        self.make_store = make_store
        self.logs = root / "logs"
        self.tasks = self.logs / "tasks"
        self.tasks.mkdir(parents=True)
        self.most_bytes = most_bytes
        self.redact = redact
        self.reader = DayIndexReader(root / "index")
        self.writer, self.agent = self._start()

    def restart(self) -> None:
        """Begin anew with what is on the disk."""
        self.writer.close()
        self.writer, self.agent = self._start()

    def _start(self) -> tuple[BrokenWriter, LogAgent]:
        writer = BrokenWriter(self.root / "index")
        store = self.make_store() if self.make_store else writer
        agent = LogAgent(
            Places(
                self.name, str(self.logs), (str(self.tasks),), (("dag-processor", str(self.logs / "dag_processor")),)
            ),
            store,
            Positions(self.root / "positions.sqlite"),
            Redaction(self.redact),
            most_bytes=self.most_bytes,
            clock=time.monotonic,
            wall=time.time,
            components_every_s=0,
            journal=Journal(self.journal, days=30) if self.journal else None,
        )
        return writer, agent

    def take(self) -> None:
        """Take all that is there."""
        while self.agent.turn():
            pass

    def write(self, relative: str, *lines: str, end: str = "\n") -> Path:
        """Append lines to a log file."""
        path = self.logs / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write("".join(f"{line}{end}" for line in lines))
        return path

    def print(self, *events: str, relative: str = TRY, level: str = "info", logger: str = "task") -> Path:
        """Append lines of a task, as Airflow writes them."""
        return self.write(f"tasks/{relative}", *(make_event(event, level, logger) for event in events))

    def search(self, text: str = "", **filters: Any) -> list[Hit]:  # noqa: ANN401 - fields of a Question
        return list(self.reader.search(LogQuery(text=text, **filters), 100_000).hits)

    def texts(self, text: str = "", **filters: Any) -> list[str]:  # noqa: ANN401 - as above
        return [hit.text for hit in self.search(text, **filters)]


def make_event(event: str, level: str = "info", logger: str = "task", **more: object) -> str:
    """Return a line of a task's log."""
    body = {"timestamp": "2026-11-29T04:36:13.980389Z", "level": level, "event": event, "logger": logger, **more}
    return json.dumps(body, separators=(",", ":"))


def make_line(number: int, source: str = "host1:a", **origin: Any) -> Line:  # noqa: ANN401 - fields of an Origin
    """Return a line with a number, for an index."""
    known: dict[str, Any] = {"host": "host1", "component": "task", "dag": "sales", "task": "load", "run": "r", **origin}
    own = LineOrigin(**known)
    return Line(source, number, number * 1_000_000, "info", f"line {number}", make_event(f"line {number}"), own)

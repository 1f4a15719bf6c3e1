"""The interface of stores of log lines. One process writes to a store, and any number of processes read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from airfleet_provider.log_index.lines import Line, LineOrigin, show_moment

# What a store has in the place of a line that it cannot keep.
LEFT_OUT = "airfleet: the line at this place cannot be put into the index. It is only in the file"


class LogStoreError(RuntimeError):
    """The store does not answer, or cannot keep what it was given."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines are wanted. A field that is empty admits all lines. Moments are microseconds since 1970.

    `text` is words that must all be in the line; words in double quotes must follow each other; a word after a minus
    must not be there; the last part of a word may be left out with an asterisk. The case of letters does not matter.
    """

    text: str = ""
    dag: str = ""
    task: str = ""
    run: str = ""
    host: str = ""
    component: str = ""
    levels: tuple[str, ...] = ()
    try_number: int | None = None
    map_index: int | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A line that was found."""

    source: str
    offset: int
    at: int
    level: str
    text: str
    origin: LineOrigin

    def to_json(self) -> Mapping[str, object]:
        """Return the line as an object that JSON knows."""
        own = self.origin
        return {
            "at": show_moment(self.at),
            "level": self.level,
            "host": own.host,
            "component": own.component,
            "dag_id": own.dag,
            "run_id": own.run,
            "task_id": own.task,
            "map_index": own.map_index,
            "try_number": own.try_number,
            "text": self.text,
            "source": self.source,
            "offset": self.offset,
        }


@dataclass(frozen=True, slots=True)
class FoundLines:
    """The newest lines that were asked for, the oldest first. `is_cut` means that there are older ones too."""

    hits: Sequence[Hit] = field(default_factory=tuple)
    is_cut: bool = False


class LogReader(Protocol):
    """What reads a store."""

    def search(self, question: LogQuery, most: int) -> FoundLines:
        """Return the newest lines, `most` at most. Raises StoreError."""

    def find_sources(self, attempt: LineOrigin) -> Sequence[str]:
        """Return the files that have lines of a try, such as one of each host that ran a part. Raises StoreError.

        The host and the component of `attempt` do not matter.
        """

    def read_page(self, attempt: LineOrigin, source: str, after: int) -> Sequence[tuple[int, str]]:
        """Return the next raw lines of one file of a try, each with its offset, after an offset. Raises StoreError.

        The number of lines is that of one page. There are none after the last one.
        """


def read_whole(reader: LogReader, attempt: LineOrigin, source: str) -> Iterator[str]:
    """Yield all raw lines of one file of a try, in their order. The memory for it does not grow with the file.

    Raises:
        LogStoreError: The store does not answer.
    """
    after = 0
    while page := reader.read_page(attempt, source, after):
        yield from (raw for _, raw in page)
        after = page[-1][0]


class LogWriter(Protocol):
    """What writes to a store. A line is kept once, however often it is added."""

    def know_new(self, source: str) -> None:
        """Note that no line of a file was ever added, so that the store need not look for them."""

    def add(self, lines: Sequence[Line]) -> int:
        """Add lines. They are kept and found after the next `commit`. Raises StoreError.

        A line that cannot be kept as it is does not stop the others: a line that says so takes its place. Returns the
        number of those.
        """

    def commit(self) -> None:
        """Keep what was added, so that it outlasts a power cut. Raises StoreError: nothing was kept."""

    def forget_before(self, at: int) -> None:
        """Remove the lines that were added in the days before a moment, in whole days. Raises StoreError."""

    def close(self) -> None:
        """Give up what was added since the last commit, and let another process write."""

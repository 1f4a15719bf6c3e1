"""The store of log lines on this machine: a tantivy index for each day on which lines were added.

A line and its place in its file are one document, so they are kept together or not at all: what the index holds says
how far a file was taken. An index of a day is removed as a whole, as single documents are slow to remove.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import tantivy

from airfleet_provider.log_index import words
from airfleet_provider.log_index.lines import Line, LineOrigin, clean_text, read_line
from airfleet_provider.log_index.store import LEFT_OUT, FoundLines, Hit, LogQuery, LogStoreError
from airfleet_provider.log_index.words import Phrase

log = logging.getLogger(__name__)

# Bytes of lines that the writer collects in memory before it writes them to the disk.
WRITER_BYTES = 30_000_000
# Room that the index leaves free on its disk, which the database may need: so many bytes, or this part of a small disk.
# The log files keep what is not taken, so a disk that fills up must not first lose the database.
RESERVE_BYTES, RESERVE_PART = 1 << 30, 0.05
# Lines of a file that are read at once, and characters after which no further line is.
PAGE, PAGE_CHARACTERS = 2000, 4 << 20
# Files of one try: one for each host on which it ran, and one for each trigger of it.
MOST_SOURCES = 1000
# Files whose ends are remembered. A turn of the agent takes lines of fewer files.
MOST_ENDS = 50_000
# The clock of a host may be before that of the store, so a line may be in the index of the day before.
CLOCKS_APART = 3600 * 1_000_000
_NAMES = ("level", "host", "component", "dag", "task", "run")


@cache
def make_schema() -> tantivy.Schema:
    """Return the fields of a document. The words of a line are indexed; the line itself is kept as it was written."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", tokenizer_name="default", index_option="position")
    for name in _NAMES:
        builder.add_text_field(name, stored=True, tokenizer_name="raw", index_option="basic")
    # Nothing is written to this field, or read from it. Without it, the indexes of days that have it could not be read.
    builder.add_text_field("log_id", stored=False, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("source", stored=True, fast=True, tokenizer_name="raw", index_option="basic")
    for name in ("at", "offset"):
        builder.add_integer_field(name, stored=True, fast=True)
    for name in ("map_index", "try_number"):
        builder.add_integer_field(name, stored=True, indexed=True)
    builder.add_bytes_field("raw", stored=True)
    return builder.build()


class DayIndexReader:
    """Reads the indexes of a folder while another process may write them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, tantivy.Index] = {}

    def list_days(self) -> list[str]:
        """Return the days that have an index, the newest first."""
        found = {path.name for path in self._folder.glob("????-??-??") if (path / "meta.json").exists()}
        for gone in self._open.keys() - found:
            del self._open[gone]
        return sorted(found, reverse=True)

    def search(self, question: LogQuery, most: int) -> FoundLines:
        """Return the newest lines, `most` at most."""
        query = _make_query(question)
        found: list[tuple[int, tantivy.Searcher, tantivy.DocAddress]] = []
        for day in self._choose_days(question):
            for searcher in self._look(day):
                hits = searcher.search(query, most + 1, count=False, order_by_field="at", order=tantivy.Order.Desc).hits
                found += [(at, searcher, address) for at, address in hits]
        found.sort(key=lambda one: one[0], reverse=True)
        newest = [_make_hit(searcher.doc(address).to_dict()) for _, searcher, address in found[:most]]
        return FoundLines(sorted(newest, key=lambda hit: (hit.at, hit.source, hit.offset)), len(found) > most)

    def find_sources(self, attempt: LineOrigin) -> Sequence[str]:
        """Return the files that have lines of a try; the file with the oldest line comes first."""
        query = tantivy.Query.boolean_query(_match_attempt(attempt))
        first = {"min": {"field": "at"}}
        wanted = {"sources": {"terms": {"field": "source", "size": MOST_SOURCES}, "aggs": {"first": first}}}
        begun: dict[str, float] = {}
        for day in self.list_days():
            for searcher in self._look(day):
                for one in searcher.aggregate(query, wanted)["sources"]["buckets"]:
                    at = one["first"]["value"]
                    begun[one["key"]] = min(at, begun.get(one["key"], at))
        return sorted(begun, key=lambda source: (begun[source], source))

    def read_page(self, attempt: LineOrigin, source: str, after: int) -> Sequence[tuple[int, str]]:
        """Return the next raw lines of one file of a try, PAGE at most, each with its offset, after an offset.

        Lines arrive in their order, so those of a day are before those of the next one.
        """
        schema = make_schema()
        later = tantivy.Query.range_query(schema, "offset", tantivy.FieldType.Integer, after + 1)
        own = (tantivy.Query.term_query(schema, "source", source), later)
        query = tantivy.Query.boolean_query([*_match_attempt(attempt), *((tantivy.Occur.Must, one) for one in own)])
        page: list[tuple[int, str]] = []
        size = 0
        for day in reversed(self.list_days()):
            for searcher in self._look(day):
                room = PAGE - len(page)
                found = searcher.search(query, room, count=False, order_by_field="offset", order=tantivy.Order.Asc)
                for at, address in found.hits:
                    raw = _decode(searcher.doc(address).get_first("raw"))
                    page.append((at, raw))
                    size += len(raw)
                    if size >= PAGE_CHARACTERS:
                        return page
            if len(page) >= PAGE:
                break
        return page

    def find_end(self, source: str) -> int:
        """Return the offset of the last line of a file that the store keeps, or 0."""
        query = tantivy.Query.term_query(make_schema(), "source", source)
        for day in self.list_days():
            for searcher in self._look(day):
                hits = searcher.search(query, 1, count=False, order_by_field="offset", order=tantivy.Order.Desc).hits
                if hits:
                    return int(hits[0][0])
        return 0

    def count(self) -> int:
        """Return how many lines are kept."""
        return sum(searcher.num_docs for day in self.list_days() for searcher in self._look(day))

    def _choose_days(self, question: LogQuery) -> list[str]:
        # A line is never added before it is written, but any time after.
        days = self.list_days()
        if question.since is None:
            return days
        first = name_day(max(0, question.since - CLOCKS_APART))
        return [day for day in days if day >= first]

    def _look(self, day: str) -> Iterator[tantivy.Searcher]:
        """Yield the present state of an index, or nothing if the index was removed in this moment."""
        try:
            if (index := self._open.get(day)) is None:
                index = tantivy.Index.open(str(self._folder / day))
                # Another policy makes a thread of each index.
                index.config_reader("manual")
                self._open[day] = index
            index.reload()
            searcher = index.searcher()
        except ValueError as error:
            if (self._folder / day / "meta.json").exists():
                raise LogStoreError(f"cannot read the index of {day}: {error}") from error
            return
        yield searcher


class DayIndexWriter:
    """Adds lines to the index of the present day. Only one process can write to an index."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        """Write to `folder`; `clock` returns the seconds since 1970."""
        self._folder = folder
        self._clock = clock
        self._reader = DayIndexReader(folder)
        self._writers: dict[str, tantivy.IndexWriter] = {}
        self._ends: OrderedDict[str, int] = OrderedDict()

    def find_end(self, source: str) -> int:
        """Return the offset of the last line of a file that the store keeps, or 0."""
        return self._reader.find_end(source)

    def add(self, lines: Sequence[Line]) -> int:
        """Add lines to the index of the present day. A line that was added is not added again.

        Returns the number of lines that cannot be kept. LEFT_OUT takes the place of each.
        """
        writer = self._find_writer(name_day(int(self._clock() * 1_000_000)))
        left_out = 0
        for line in lines:
            if line.offset <= self._read_end(line.source):
                continue
            try:
                document = _make_document(line)
            except Exception as error:
                # Programs of others wrote the line. Were it tried again, no later line would ever be kept.
                log.warning("a line of %s is left out of the index: %s", line.source, type(error).__name__)
                left_out += 1
                document = _make_document(replace(line, at=int(self._clock() * 1e6), text=LEFT_OUT, raw=LEFT_OUT))
            with _as_store_error():
                writer.add_document(document)
            self._remember(line.source, line.offset)
        return left_out

    def know_new(self, source: str) -> None:
        """Note that no line of a file was ever added, so that the indexes need not be searched for it."""
        self._remember(source, 0)

    def commit(self) -> None:
        """Keep what was added, so that it outlasts a power cut.

        Raises:
            LogStoreError: The disk has less room than the reserve, or cannot be written. Nothing was kept.
        """
        today = name_day(int(self._clock() * 1_000_000))
        for day, writer in list(self._writers.items()):
            try:
                with _as_store_error():
                    self._check_room()
                    writer.commit()
                    if day != today:
                        del self._writers[day]
                        writer.wait_merging_threads()
            except LogStoreError:
                # Nothing of what was added may be remembered as kept.
                self.close()
                raise

    def forget_before(self, at: int) -> None:
        """Remove the indexes of the days before a moment."""
        first = name_day(at)
        for day in self._reader.list_days():
            if day < first and day not in self._writers:
                shutil.rmtree(self._folder / day, ignore_errors=True)

    def close(self) -> None:
        """Give up what was added since the last commit, and let another process write."""
        writers, self._writers = self._writers, {}
        self._ends.clear()
        for writer in writers.values():
            with suppress(ValueError):
                writer.rollback()

    def _check_room(self) -> None:
        disk = os.statvfs(self._folder)
        free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        reserve = min(RESERVE_BYTES, int(size * RESERVE_PART))
        if free < reserve:
            raise LogStoreError(
                f"the disk of {self._folder} has less than {reserve >> 20} MiB free, which the index of logs leaves to"
                " the database"
            )

    def _read_end(self, source: str) -> int:
        if (end := self._ends.get(source)) is None:
            end = self._remember(source, self._reader.find_end(source))
        return end

    def _remember(self, source: str, end: int) -> int:
        self._ends[source] = end
        self._ends.move_to_end(source)
        if len(self._ends) > MOST_ENDS:
            self._ends.popitem(last=False)
        return end

    def _find_writer(self, day: str) -> tantivy.IndexWriter:
        if (writer := self._writers.get(day)) is None:
            folder = self._folder / day
            # Only the owner may read what others wrote into their logs.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            with _as_store_error():
                # One thread: more of them make more segments, and merging those costs more than they save.
                writer = tantivy.Index(make_schema(), path=str(folder)).writer(WRITER_BYTES, 1)
            self._writers[day] = writer
        return writer


def name_day(at: int) -> str:
    """Return the name of a day in UTC."""
    return f"{datetime.fromtimestamp(at // 1_000_000, UTC):%Y-%m-%d}"


@contextmanager
def _as_store_error() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise LogStoreError(str(error)) from error


def _make_document(line: Line) -> tantivy.Document:
    own = line.origin
    # A name comes from a path, which need not be UTF-8.
    fields = {
        "text": clean_text(line.text),
        "level": line.level,
        "host": own.host,
        "component": clean_text(own.component),
        "dag": clean_text(own.dag),
        "task": clean_text(own.task),
        "run": clean_text(own.run),
        "source": line.source,
        "at": line.at,
        "offset": line.offset,
        "map_index": own.map_index,
        "try_number": own.try_number,
        "raw": line.raw.encode("utf-8", "replace"),
    }
    return tantivy.Document.from_dict(fields, make_schema())


def _make_hit(document: Mapping[str, Sequence[Any]]) -> Hit:
    one = {name: values[0] for name, values in document.items()}
    origin = LineOrigin(
        one["host"], one["component"], one["dag"], one["task"], one["run"], one["map_index"], one["try_number"]
    )
    text = read_line(_decode(one["raw"])).text
    return Hit(one["source"], one["offset"], one["at"], one["level"], text, origin)


def _decode(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")


def _match_attempt(attempt: LineOrigin) -> list[tuple[tantivy.Occur, tantivy.Query]]:
    """Return the conditions that only lines of one try meet."""
    schema = make_schema()
    dag, task, run, map_index, try_number = attempt.attempt
    wanted = {"dag": clean_text(dag), "task": clean_text(task), "run": clean_text(run)}
    numbers = {"map_index": map_index, "try_number": try_number}
    return [
        (tantivy.Occur.Must, tantivy.Query.term_query(schema, name, value))
        for name, value in [*wanted.items(), *numbers.items()]
    ]


def _make_query(question: LogQuery) -> tantivy.Query:
    schema = make_schema()
    must: list[tuple[tantivy.Occur, tantivy.Query]] = []
    for name, value in (
        ("dag", question.dag),
        ("task", question.task),
        ("run", question.run),
        ("host", question.host),
        ("component", question.component),
    ):
        if value:
            must.append((tantivy.Occur.Must, tantivy.Query.term_query(schema, name, clean_text(value))))
    for name, number in (("map_index", question.map_index), ("try_number", question.try_number)):
        if number is not None:
            must.append((tantivy.Occur.Must, tantivy.Query.term_query(schema, name, number)))
    if question.levels:
        must.append((tantivy.Occur.Must, tantivy.Query.term_set_query(schema, "level", list(question.levels))))
    if question.since is not None or question.until is not None:
        last = None if question.until is None else question.until - 1
        span = tantivy.Query.range_query(schema, "at", tantivy.FieldType.Integer, question.since, last)
        must.append((tantivy.Occur.Must, span))
    for phrase in words.split(clean_text(question.text)):
        occur = tantivy.Occur.MustNot if phrase.is_banned else tantivy.Occur.Must
        must.append((occur, _make_phrase(phrase)))
    if not any(occur is tantivy.Occur.Must for occur, _ in must):
        must.append((tantivy.Occur.Must, tantivy.Query.all_query()))
    return tantivy.Query.boolean_query(must)


def _make_phrase(phrase: Phrase) -> tantivy.Query:
    schema = make_schema()
    if len(phrase.words) > 1:
        listed: list[str | tuple[int, str]] = list(phrase.words)
        make = tantivy.Query.phrase_prefix_query if phrase.is_open else tantivy.Query.phrase_query
        return make(schema, "text", listed)
    [(_, word)] = phrase.words
    if phrase.is_open:
        return tantivy.Query.regex_query(schema, "text", f"{word}.*")
    return tantivy.Query.term_query(schema, "text", word)

"""A store of log lines in OpenSearch or Elasticsearch: an index for each day, documents that Airflow can read.

A line is a document whose id is its file and its place in the file, in the index that this line always goes to. So a
line that is sent again is refused as one that is there, and no answer that is lost doubles it.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from airfleet_provider.log_index import words
from airfleet_provider.log_index.lines import Line, LineOrigin, read_line, show_moment
from airfleet_provider.log_index.opensearch_client import OpenSearchClient, OpenSearchServer, shorten
from airfleet_provider.log_index.store import LEFT_OUT, FoundLines, Hit, LogQuery, LogStoreError

# Bytes of one request of many documents.
BULK_BYTES = 4 << 20
# Hits that the server returns at once; its own limit is 10,000.
WINDOW = 5000
# Lines of a file that are read at once.
PAGE = 2000
MOST_SOURCES = 1000
# Files whose last offset for Airflow is remembered.
MOST_FILES = 50_000
# The fields that Airflow's reader takes from a line, beside those that this module writes.
_AIRFLOW = ("event", "logger", "error_detail", "chan")
# The day in the name of a file, on which the agent met it.
_DAY = re.compile(r":(\d{4})(\d\d)(\d\d)-")
_CREATED, _THERE, _REFUSED = 201, 409, 400


def make_template(prefix: str) -> Mapping[str, object]:
    """Return the template of the indexes. What it does not name is kept with each document and not indexed."""
    names = ("log_id", "host", "component", "level", "logger", "dag_id", "task_id", "run_id", "source")
    fields: dict[str, object] = {name: {"type": "keyword", "ignore_above": 8191} for name in names}
    fields |= {name: {"type": "long"} for name in ("offset", "at", "position")}
    fields |= {name: {"type": "integer"} for name in ("map_index", "try_number")}
    fields |= {"@timestamp": {"type": "date"}, "text": {"type": "text", "analyzer": "words"}}
    # A word is a run of letters and digits, in any case, as in the other store.
    analysis = {
        "tokenizer": {"runs": {"type": "pattern", "pattern": r"[^\p{L}\p{Nd}\p{Nl}\p{No}]+"}},
        "analyzer": {"words": {"type": "custom", "tokenizer": "runs", "filter": ["lowercase", "short"]}},
        "filter": {"short": {"type": "length", "max": words.LONGEST_WORD - 1}},
    }
    return {
        "index_patterns": [f"{prefix}-*"],
        "template": {
            "settings": {"number_of_shards": 1, "refresh_interval": "1s", "analysis": analysis},
            "mappings": {"dynamic": False, "properties": fields},
        },
    }


class OpenSearchWriter:
    """Adds lines to the indexes. One thread at a time uses it."""

    def __init__(self, place: OpenSearchServer) -> None:
        self._place = place
        self._client = OpenSearchClient(place)
        self._lines: list[Line] = []
        self._has_template = False
        # The last offset for Airflow of each file.
        self._offsets: OrderedDict[str, int] = OrderedDict()

    def know_new(self, source: str) -> None:
        """Do nothing: the id of a document says whether a line is there."""

    def add(self, lines: Sequence[Line]) -> int:
        """Take lines for the next `commit`, which replaces those that the server refuses; so their number is 0."""
        self._lines += lines
        return 0

    def commit(self) -> None:
        """Return when the server has all lines on its disk.

        Raises:
            LogStoreError: It did not say so of all. It may have kept some. To send all again doubles none.
        """
        if not self._lines:
            return
        self._put_template()
        refused = [line for part in _split(map(self._make_operation, self._lines)) for line in self._send(part)]
        self._send_again(refused)
        self._lines.clear()

    def _put_template(self) -> None:
        if self._has_template:
            return
        body = json.dumps(make_template(self._place.prefix)).encode()
        status, said = self._client.ask("PUT", f"/_index_template/{self._place.prefix}", body)
        if status != HTTPStatus.OK:
            raise LogStoreError(f"OpenSearch refuses the template of indexes: {shorten(said)}")
        self._has_template = True

    def _send(self, part: Sequence[tuple[Line, bytes]]) -> list[Line]:
        """Send documents, and return the lines of those that the server can never keep."""
        status, said = self._client.ask("POST", "/_bulk", b"".join(text for _, text in part), "application/x-ndjson")
        if status == HTTPStatus.BAD_REQUEST:
            # It does not say which line it cannot read, and one must not stop all others for ever.
            half = len(part) // 2
            return [*self._send(part[:half]), *self._send(part[half:])] if half else [part[0][0]]
        if status != HTTPStatus.OK:
            raise LogStoreError(f"OpenSearch answers {status}: {shorten(said)}")
        refused = []
        for (line, _), item in zip(part, said["items"], strict=True):
            match item["create"]["status"]:
                case code if code in (_CREATED, _THERE):
                    continue
                case code if code == _REFUSED:
                    refused.append(line)
                case code:
                    raise LogStoreError(f"OpenSearch answers {code} for a line: {shorten(item['create'])}")
        return refused

    def _send_again(self, refused: Sequence[Line]) -> None:
        """Send a line that says so in the place of each that was refused."""
        others = [self._make_operation(replace(line, text=LEFT_OUT, raw=LEFT_OUT)) for line in refused]
        if others and self._send(others):
            raise LogStoreError("OpenSearch refuses even a line that says that one was refused")

    def forget_before(self, at: int) -> None:
        """Remove the indexes of the days before a moment. Raises StoreError."""
        _, said = self._client.ask("GET", f"/_cat/indices/{self._place.prefix}-*?format=json&h=index")
        first = name_index(self._place.prefix, at)
        for one in said if isinstance(said, list) else ():
            if (
                re.fullmatch(rf"{re.escape(self._place.prefix)}-\d{{4}}\.\d\d\.\d\d", one["index"])
                and one["index"] < first
            ):
                self._client.ask("DELETE", f"/{one['index']}")

    def close(self) -> None:
        """Give up the lines that no commit sent."""
        self._lines.clear()
        self._client.close()

    def _make_operation(self, line: Line) -> tuple[Line, bytes]:
        own = line.origin
        head = {"create": {"_index": find_index(self._place.prefix, line), "_id": f"{line.source}:{line.offset}"}}
        body = {
            **_read_airflow(line.raw),
            "@timestamp": show_moment(line.at),
            "timestamp": show_moment(line.at),
            "level": line.level,
            "log_id": make_log_id(own),
            "offset": self._find_offset(line),
            "host": own.host,
            "component": own.component,
            "dag_id": own.dag,
            "task_id": own.task,
            "run_id": own.run,
            "map_index": own.map_index,
            "try_number": own.try_number,
            "text": line.text,
            "at": line.at,
            "source": line.source,
            "position": line.offset,
            "raw": line.raw,
        }
        try:
            text = json.dumps(body, allow_nan=False)
        except (ValueError, RecursionError):
            # Programs of others wrote what the line says beside its event.
            kept = {name: value for name, value in body.items() if name not in _AIRFLOW}
            text = json.dumps({**kept, "event": line.raw})
        return line, f"{json.dumps(head)}\n{text}\n".encode()

    def _find_offset(self, line: Line) -> int:
        """Return what Airflow sorts the lines of a try by. It grows over all files of the try, so it is a time.

        Lines of one microsecond are told apart by a count. The first that is kept counts, so it need not be the same
        when a line is sent again.
        """
        last = self._offsets.pop(line.source, 0)
        offset = self._offsets[line.source] = max(line.at << 10, last + 1)
        if len(self._offsets) > MOST_FILES:
            self._offsets.popitem(last=False)
        return offset


class OpenSearchReader:
    """Searches the indexes. Any number of threads use it."""

    def __init__(self, place: OpenSearchServer) -> None:
        self._client = OpenSearchClient(place)
        self._path = f"/{place.prefix}-*/_search?ignore_unavailable=true&allow_no_indices=true"

    def search(self, question: LogQuery, most: int) -> FoundLines:
        """Return the newest lines, `most` at most. Raises StoreError."""
        order = [{"at": "desc"}, {"source": "desc"}, {"position": "desc"}]
        found: list[Mapping[str, Any]] = []
        while len(found) <= most:
            size = min(WINDOW, most + 1 - len(found))
            after = {"search_after": found[-1]["sort"]} if found else {}
            page = self._find({"query": _make_query(question), "sort": order, "size": size, **after})
            found += page
            if len(page) < size:
                break
        hits = [_make_hit(one["_source"]) for one in reversed(found[:most])]
        return FoundLines(hits, len(found) > most)

    def find_sources(self, attempt: LineOrigin) -> Sequence[str]:
        """Return the files that have lines of a try; the file with the oldest line comes first. Raises StoreError."""
        begun = {"begun": {"min": {"field": "at"}}}
        parts = {"sources": {"terms": {"field": "source", "size": MOST_SOURCES}, "aggs": begun}}
        said = self._ask({"query": {"bool": {"filter": _match_attempt(attempt)}}, "size": 0, "aggs": parts})
        if "aggregations" not in said:
            return []
        buckets = said["aggregations"]["sources"]["buckets"]
        return [str(one["key"]) for one in sorted(buckets, key=lambda one: (one["begun"]["value"], one["key"]))]

    def read_page(self, attempt: LineOrigin, source: str, after: int) -> Sequence[tuple[int, str]]:
        """Return the next raw lines of one file of a try, each with its offset. Raises StoreError."""
        own = [{"term": {"source": source}}, {"range": {"position": {"gt": after}}}]
        query = {"bool": {"filter": [*_match_attempt(attempt), *own]}}
        wanted = {"query": query, "sort": [{"position": "asc"}], "size": PAGE, "_source": ["position", "raw"]}
        return [(int(one["_source"]["position"]), str(one["_source"]["raw"])) for one in self._find(wanted)]

    def _find(self, body: Mapping[str, object]) -> Sequence[Mapping[str, Any]]:
        return list(self._ask(body)["hits"]["hits"])

    def _ask(self, body: Mapping[str, object]) -> Mapping[str, Any]:
        status, said = self._client.ask("POST", self._path, json.dumps(body).encode())
        if status != HTTPStatus.OK:
            raise LogStoreError(f"OpenSearch answers {status}: {shorten(said)}")
        return dict(said)


def make_log_id(own: LineOrigin) -> str:
    """Return what Airflow finds the lines of a try by, as the default template of its providers writes it, or ""."""
    return f"{own.dag}-{own.task}-{own.run}-{own.map_index}-{own.try_number}" if own.dag else ""


def find_index(prefix: str, line: Line) -> str:
    """Return the index of a line, which is always the same.

    The lines of a file go to the day on which the file was met. A line without a time of its own has another one when
    it is read again, and one that a program wrote may say any time, of which each day would be one more index. An entry
    of the journal has the time at which the journal got it.
    """
    if found := _DAY.search(line.source):
        return f"{prefix}-{found[1]}.{found[2]}.{found[3]}"
    return name_index(prefix, line.at)


def name_index(prefix: str, at: int) -> str:
    """Return the name of the index of a day, in UTC."""
    return f"{prefix}-{datetime.fromtimestamp(at // 1_000_000, UTC):%Y.%m.%d}"


def _read_airflow(raw: str) -> Mapping[str, object]:
    """Return what Airflow's reader shows of a line: its event, and what else it said."""
    try:
        body = json.loads(raw) if raw.startswith("{") else {}
    except (ValueError, RecursionError):
        body = {}
    if not isinstance(body, dict) or "event" not in body:
        return {"event": raw}
    known = {name: body[name] for name in _AIRFLOW if name in body}
    logger = known.get("logger")
    return known if logger is None or isinstance(logger, str) else {**known, "logger": str(logger)}


def _split(operations: Iterable[tuple[Line, bytes]]) -> Iterator[list[tuple[Line, bytes]]]:
    part: list[tuple[Line, bytes]] = []
    size = 0
    for line, text in operations:
        if part and size + len(text) > BULK_BYTES:
            yield part
            part, size = [], 0
        part.append((line, text))
        size += len(text)
    if part:
        yield part


def _match_attempt(attempt: LineOrigin) -> list[Mapping[str, object]]:
    dag, task, run, map_index, try_number = attempt.attempt
    wanted = {"dag_id": dag, "task_id": task, "run_id": run, "map_index": map_index, "try_number": try_number}
    return [{"term": {name: value}} for name, value in wanted.items()]


def _make_query(question: LogQuery) -> Mapping[str, object]:
    names = {
        "dag_id": question.dag,
        "task_id": question.task,
        "run_id": question.run,
        "host": question.host,
        "component": question.component,
        "map_index": question.map_index,
        "try_number": question.try_number,
    }
    must: list[Mapping[str, object]] = [
        {"term": {name: value}} for name, value in names.items() if value not in ("", None)
    ]
    if question.levels:
        must.append({"terms": {"level": list(question.levels)}})
    span = {name: value for name, value in (("gte", question.since), ("lt", question.until)) if value is not None}
    if span:
        must.append({"range": {"at": span}})
    phrases = list(words.split(question.text))
    must += [_make_phrase(one) for one in phrases if not one.is_banned]
    return {"bool": {"filter": must, "must_not": [_make_phrase(one) for one in phrases if one.is_banned]}}


def _make_phrase(phrase: words.Phrase) -> Mapping[str, object]:
    text = " ".join(word for _, word in phrase.words)
    if not phrase.is_open:
        return {"match_phrase": {"text": text}}
    if len(phrase.words) == 1:
        return {"prefix": {"text": text}}
    return {"match_phrase_prefix": {"text": {"query": text, "max_expansions": 1000}}}


def _make_hit(body: Mapping[str, Any]) -> Hit:
    origin = LineOrigin(
        str(body["host"]),
        str(body["component"]),
        str(body["dag_id"]),
        str(body["task_id"]),
        str(body["run_id"]),
        int(body["map_index"]),
        int(body["try_number"]),
    )
    text = read_line(str(body["raw"])).text
    return Hit(str(body["source"]), int(body["position"]), int(body["at"]), str(body["level"]), text, origin)

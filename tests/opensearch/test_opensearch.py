"""Lines in a real OpenSearch: each is kept once, a search finds what the other store finds, and Airflow reads them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from airfleet_provider.contract.opensearch_views import PREFIX, read_views
from airfleet_provider.log_index.day_indexes import DayIndexReader, DayIndexWriter
from airfleet_provider.log_index.lines import Line, LineOrigin
from airfleet_provider.log_index.opensearch import OpenSearchReader, OpenSearchWriter, name_index
from airfleet_provider.log_index.opensearch_client import OpenSearchServer
from airfleet_provider.log_index.store import LogQuery, LogStoreError, read_whole
from deadline import COMMAND_S, PATIENCE_S, wait_until
from log_hosts import make_event, make_line
from opensearch_node import Node

pytestmark = pytest.mark.opensearch

UV = Path(sys.prefix) / "bin" / "uv"
PROVIDER = ("apache-airflow-providers-opensearch==1.15.0", "opensearch-py==3.2.0", "Events==0.5")
# What Airflow's api-server does to read the log of a try.
READ = """
import json, sys
from types import SimpleNamespace
from airflow.providers.opensearch.log.os_task_handler import OpensearchRemoteLogIO
reader = OpensearchRemoteLogIO(host=sys.argv[1], port=int(sys.argv[2]), base_log_folder="/tmp")
reader.index_patterns = "airfleet-logs-*"
ti = SimpleNamespace(dag_id="sales", task_id="load", run_id="r", map_index=-1, try_number=1)
hosts, lines = reader.read("", ti)
print(json.dumps([hosts, [json.loads(line) for line in lines]]))
"""


def keep(node: Node, lines: Sequence[Line]) -> None:
    """Write lines as a new process does, and make them visible."""
    writer = OpenSearchWriter(OpenSearchServer(node.url))
    writer.add(lines)
    writer.commit()
    writer.close()
    httpx.post(f"{node.url}/airfleet-logs-*/_refresh", timeout=PATIENCE_S).raise_for_status()


def make_lines() -> list[Line]:
    texts = (
        "connection refused by 10.0.0.7:5432",
        "Refused: the connection",
        "timeout=5 while connecting",
        "größe Ω überall",
        "loaded 17 rows of table_a",
        f"a word of {'x' * 60} letters",
    )
    lines = []
    for number, text in enumerate(texts, 1):
        origin = LineOrigin(f"host{number % 2}", "task", "sales", "load", "r", -1, number % 3 + 1)
        level = ("info", "warning", "error")[number % 3]
        at = 1_796_000_000_000_000 + number
        lines.append(Line(f"{origin.host}:a{number % 3}", number, at, level, text, make_event(text), origin))
    return lines


def test_a_line_that_is_sent_again_is_kept_once(clean: Node) -> None:
    lines = [make_line(number, "host1:20261129-a") for number in range(1, 4)]
    keep(clean, lines[:2])
    # The clock of a line without a time is another one when it is read again.
    keep(clean, [replace(line, at=line.at + 90_000_000_000) for line in lines])
    found = OpenSearchReader(OpenSearchServer(clean.url)).search(LogQuery(), 10)
    assert sorted(hit.text for hit in found.hits) == [line.text for line in lines]


QUESTIONS = (
    LogQuery(),
    LogQuery(text="connection refused"),
    LogQuery(text='"connection refused"'),
    LogQuery(text="refused -10"),
    LogQuery(text="connect*"),
    LogQuery(text='"of table_a"'),
    LogQuery(text="timeout=5"),
    LogQuery(text="GRÖSSE"),
    LogQuery(text="Größe ω"),
    LogQuery(text="letters " + "x" * 60),
    LogQuery(text="rows", dag="sales", task="load", run="r"),
    LogQuery(dag="other"),
    LogQuery(host="host1", levels=("warning", "error")),
    LogQuery(try_number=2, map_index=-1),
    LogQuery(since=1_796_000_000_000_002, until=1_796_000_000_000_005),
)


def test_a_search_finds_the_same_lines_as_in_the_other_store(clean: Node, tmp_path: Path) -> None:
    lines = make_lines()
    keep(clean, lines)
    other = DayIndexWriter(tmp_path, time.time)
    other.add(lines)
    other.commit()
    stores = OpenSearchReader(OpenSearchServer(clean.url)), DayIndexReader(tmp_path)
    for question in QUESTIONS:
        for most in (2, 100):
            mine, theirs = (store.search(question, most) for store in stores)
            assert (list(mine.hits), mine.is_cut) == (list(theirs.hits), theirs.is_cut), question
    for attempt in {line.origin for line in lines}:
        sources = [store.find_sources(attempt) for store in stores]
        assert sources[0] == sources[1]
        for source in sources[0]:
            whole = [list(read_whole(store, attempt, source)) for store in stores]
            assert whole[0] == whole[1]


def test_each_saved_view_finds_the_lines_that_it_is_about(clean: Node) -> None:
    """As Dashboards asks for them. It translates the query of a view, whose words are in capitals in Lucene's."""
    task, component = LineOrigin("host1", "task", "sales", "load", "r", -1, 1), LineOrigin("host1", "scheduler")
    lines = [
        Line(f"host1:{origin.component}", number, 1_796_000_000_000_000, level, level, make_event(level), origin)
        for number, (origin, level) in enumerate(
            [(task, "info"), (task, "error"), (component, "info"), (component, "warning"), (component, "critical")], 1
        )
    ]
    keep(clean, lines)
    found = {}
    for view in map(json.loads, read_views(PREFIX).splitlines()):
        if view["type"] not in ("search", "visualization"):
            continue
        source = json.loads(view["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
        words = source["query"]["query"] or "*"
        for word in ("or", "and", "not"):
            words = re.sub(rf"\b{word}\b", word.upper(), words)
        parts = json.loads(view["attributes"].get("visState", "{}")).get("aggs", ())
        fields = {one["id"]: one["params"]["field"] for one in parts if one["type"] == "terms"}
        aggs = {number: {"terms": {"field": field}} for number, field in fields.items()}
        body = {"query": {"query_string": {"query": words}}, "aggs": aggs, "track_total_hits": True}
        answer = httpx.post(f"{clean.url}/airfleet-logs-*/_search", json=body, timeout=PATIENCE_S)
        said = answer.raise_for_status().json()
        assert all(one["buckets"] for one in said.get("aggregations", {}).values()), view["id"]
        found[view["id"].removeprefix(f"{PREFIX}-")] = said["hits"]["total"]["value"]
    assert found == {"errors": 2, "tasks": 2, "components": 2, "levels": 5, "error-tasks": 1, "hosts": 5}


def test_many_lines_are_found_and_read_whole(clean: Node) -> None:
    lines = [make_line(number, "host1:20261129-a") for number in range(1, 12_001)]
    keep(clean, lines)
    reader = OpenSearchReader(OpenSearchServer(clean.url))
    assert len(reader.search(LogQuery(text="line"), 11_000).hits) == 11_000
    assert list(read_whole(reader, lines[0].origin, "host1:20261129-a")) == [line.raw for line in lines]


def test_airflows_own_reader_shows_a_try_whole_and_in_order(clean: Node, tmp_path: Path) -> None:
    begun = replace(make_line(1).origin, try_number=1)
    run = [replace(make_line(number, "host1:20261129-a"), origin=begun) for number in range(1, 1501)]
    # After a deferral it goes on, on another host and in another file.
    resumed = [
        replace(
            make_line(number, "host2:20261129-b"), at=(2000 + number) * 1_000_000, origin=replace(begun, host="host2")
        )
        for number in range(1, 3)
    ]
    keep(clean, [*resumed, *run])
    install = [str(UV), "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "packages"), *PROVIDER]
    subprocess.run(install, check=True, timeout=COMMAND_S)
    program = (
        f"import pkgutil, airflow.providers; airflow.providers.__path__ = "
        f"pkgutil.extend_path([*airflow.providers.__path__, {str(tmp_path / 'packages/airflow/providers')!r}], "
        f"'airflow.providers')\n{READ}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "http://127.0.0.1", str(clean.port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_S,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "packages"), "AIRFLOW_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    hosts, lines = json.loads(done.stdout.splitlines()[-1])
    assert hosts == ["host1", "host2"]
    assert [line["event"] for line in lines] == [f"line {n}" for n in range(1, 1501)] + ["line 1", "line 2"]
    assert lines[0]["level"] == "info"
    assert lines[0]["timestamp"].startswith("1970-01-01T00:00:01")


def test_no_line_of_a_task_stops_the_lines_after_it(clean: Node) -> None:
    deep = f'{{"event": "deep", "error_detail": {"[" * 900}{"]" * 900}}}'
    raws = [
        '{"event": NaN}',
        '{"event": {"a": [1]}, "logger": 7}',
        deep,
        '{"event": "long", "logger": "' + "x" * 40_000 + '"}',
    ]
    begun = make_line(1).origin
    lines = [
        replace(make_line(number, "host1:20261129-a"), raw=raw, text=f"odd {number}", origin=begun)
        for number, raw in enumerate([*raws, make_event("after")], 1)
    ]
    keep(clean, lines)
    reader = OpenSearchReader(OpenSearchServer(clean.url))
    whole = list(read_whole(reader, begun, "host1:20261129-a"))
    assert len(whole) == len(lines)
    assert whole[-1] == lines[-1].raw


def test_old_days_are_removed(clean: Node) -> None:
    lines = [make_line(1, f"host1:202611{day}-a") for day in (10, 11, 12)]
    keep(clean, lines)
    OpenSearchWriter(OpenSearchServer(clean.url)).forget_before(1_794_355_200_000_000)
    left = {one["index"] for one in httpx.get(f"{clean.url}/_cat/indices/airfleet-logs-*?format=json").json()}
    assert left == {name_index("airfleet-logs", 1_794_355_200_000_000), "airfleet-logs-2026.11.12"}


def test_an_outage_of_the_server_costs_no_line(clean: Node) -> None:
    lines = [make_line(number, "host1:20261129-a") for number in range(1, 4)]
    keep(clean, lines[:1])
    clean.kill()
    writer = OpenSearchWriter(OpenSearchServer(clean.url))
    writer.add(lines)
    with pytest.raises(LogStoreError):
        writer.commit()
    writer.close()
    with pytest.raises(LogStoreError):
        OpenSearchReader(OpenSearchServer(clean.url)).search(LogQuery(), 10)
    clean.start()
    keep(clean, lines)

    def count() -> bool:
        return len(OpenSearchReader(OpenSearchServer(clean.url)).search(LogQuery(), 10).hits) == 3

    wait_until(count, "all lines")

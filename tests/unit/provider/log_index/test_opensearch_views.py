"""The saved views for OpenSearch Dashboards name what the documents of the log store have, and lack nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airfleet_provider.contract.opensearch_views import PREFIX, read_views
from airfleet_provider.log_index.opensearch import make_template
from command_line import run

VIEWS: list[dict[str, Any]] = [json.loads(line) for line in read_views(PREFIX).splitlines()]
each_view = pytest.mark.parametrize("view", VIEWS, ids=[one["id"] for one in VIEWS])


def find_fields(view: dict[str, Any]) -> Iterator[str]:
    """Every field that a view shows, sorts by, counts, or looks for in its query."""
    has = view["attributes"]
    yield from has.get("columns", ())
    yield from (name for name, _ in has.get("sort", ()))
    if "timeFieldName" in has:
        yield has["timeFieldName"]
    for one in json.loads(has.get("visState", "{}")).get("aggs", ()):
        yield from filter(None, [one["params"].get("field")])
    source = json.loads(has.get("kibanaSavedObjectMeta", {}).get("searchSourceJSON", "{}"))
    yield from re.findall(r"([\w@.]+)\s*:", source.get("query", {}).get("query", ""))


@each_view
def test_a_view_names_only_fields_of_the_index_template(view: dict[str, Any]) -> None:
    template: Any = make_template("x")
    mapped = template["template"]["mappings"]["properties"]
    assert set(find_fields(view)) <= set(mapped)
    # What is counted by a field needs one that is not cut into words.
    for one in json.loads(view["attributes"].get("visState", "{}")).get("aggs", ()):
        if field := one["params"].get("field"):
            assert mapped[field]["type"] in ("keyword", "date")


@each_view
def test_a_view_refers_to_what_the_file_has(view: dict[str, Any]) -> None:
    known = {(one["type"], one["id"]) for one in VIEWS}
    assert {(one["type"], one["id"]) for one in view["references"]} <= known
    text = json.dumps(view["attributes"])
    for reference in view["references"]:
        assert reference["name"] in text or reference["name"].endswith("searchSourceJSON.index")


def test_the_fields_of_a_view_are_found_where_they_are_wrong() -> None:
    [errors] = [one for one in VIEWS if one["id"].endswith("-errors")]
    assert {"@timestamp", "level", "dag_id", "text"} <= set(find_fields(errors))
    [levels] = [one for one in VIEWS if one["id"].endswith("-levels")]
    assert set(find_fields(levels)) == {"@timestamp", "level"}


def test_the_command_prints_the_views_for_the_indexes_of_a_fleet(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(
        "name: shop\nhosts:\n  one: {address: 10.0.0.1, roles: [scheduler, database, broker, web, worker, logs]}\n"
        "logs: {opensearch: {url: {env: OPENSEARCH_URL}, prefix: shop-lines}}\n"
    )
    done = run("logs", "views", "--project", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["attributes"]["title"] for one in printed if one["type"] == "index-pattern"] == ["shop-lines-*"]
    assert make_template("shop-lines")["index_patterns"] == ["shop-lines-*"]
    assert len(printed) == len(VIEWS)

"""What an event of OpenLineage says, and what of it is kept."""

from __future__ import annotations

from typing import Any

import pytest

from airfleet_provider.contract.lineage.datasets import name_dataset, normalise
from airfleet_provider.lineage_events import facts
from airfleet_provider.lineage_events.facts import ColumnUse, DatasetUse
from airfleet_provider.task_records.openlineage import slim_event

IN = {"namespace": "postgres://wh:5432", "name": "dwh.raw.orders"}


def test_inputs_outputs_schemas_and_columns_are_read() -> None:
    source = {
        **IN,
        "field": "amount",
        "transformations": [{"type": "INDIRECT", "subtype": "FILTER"}, {"type": "DIRECT"}],
    }
    out = {
        "namespace": "s3://lake",
        "name": "sales",
        "facets": {
            "schema": {"fields": [{"name": "total"}, {"name": "total"}, {"name": 7}, "odd"]},
            "columnLineage": {"fields": {"total": {"inputFields": [source, {"name": "x"}, None]}}},
        },
    }
    read = facts.read({"eventType": "complete", "inputs": [IN, IN, {"name": ""}], "outputs": [out]})
    assert read.kind == "COMPLETE"
    assert read.datasets == (
        DatasetUse("postgres://wh:5432", "dwh.raw.orders", False),
        DatasetUse("s3://lake", "sales", True, ("total",)),
    )
    assert read.columns == (
        ColumnUse("s3://lake", "sales", "total", "postgres://wh:5432", "dwh.raw.orders", "amount", "DIRECT"),
    )
    assert read.has_both


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"inputs": 7, "outputs": None, "eventType": []},
        {"outputs": [{"namespace": [], "name": {}, "facets": 1}]},
        {"outputs": [{"name": "a", "facets": {"schema": [], "columnLineage": {"fields": [1]}}}]},
    ],
)
def test_what_is_no_event_says_nothing_or_less(event: dict[str, Any]) -> None:
    assert not facts.read(event).columns


def test_one_event_cannot_say_without_end() -> None:
    source = [{**IN, "field": f"f{number}"} for number in range(5000)]
    columns = {f"c{number}": {"inputFields": source} for number in range(50)}
    outs = [
        {"namespace": "n", "name": f"t{number}", "facets": {"columnLineage": {"fields": columns}}}
        for number in range(300)
    ]
    read = facts.read({"outputs": outs})
    assert (len(read.datasets), len(read.columns)) == (facts.MOST_DATASETS, facts.MOST_RELATIONS)


def test_what_may_be_secret_is_left_out_of_an_event() -> None:
    event = {
        "eventType": "FAIL",
        "run": {
            "runId": "r",
            "facets": {
                "airflow": {"task": {"bash_command": "curl -u a:s3cret"}},
                "environmentVariables": {"x": "s3cret"},
                "errorMessage": {"message": "it failed", "stackTrace": "s3cret"},
            },
        },
        "job": {
            "namespace": "n",
            "name": "j",
            "facets": {"sql": {"query": "s3cret"}, "sourceCode": {"source": "s3cret"}},
        },
        "inputs": [
            {"namespace": "postgres://u:s3cret@h:5432", "name": "a?token=s3cret://", "facets": {"odd": "s3cret"}},
            {
                "namespace": "https://h/x?sig=s3cret",
                "name": "b",
                "facets": {"dataSource": {"uri": "db://u:s3cret@h/d"}},
            },
        ],
    }
    slim = slim_event(event)
    assert "s3cret" not in str(slim)
    assert slim["run"]["facets"]["errorMessage"]["message"] == "it failed"
    assert slim["inputs"][0]["namespace"] == "postgres://h:5432"


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("postgres://wh:5432/dwh/raw/orders", "postgres://wh:5432", "dwh.raw.orders"),
        ("s3://lake/a/b.parquet", "s3://lake", "a/b.parquet"),
        ("s3://lake/a/b.parquet", "s3://lake", "/a/b.parquet"),
        ("file:///data/x.csv", "file", "/data/x.csv"),
    ],
)
def test_an_asset_and_a_dataset_of_the_same_thing_are_one(uri: str, namespace: str, name: str) -> None:
    own = name_dataset(namespace, name)
    assert normalise(uri) == normalise(own if "://" in own else f"{namespace}://{name}")

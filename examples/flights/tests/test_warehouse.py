"""Loading again changes no total, and a load that breaks off changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.deliveries import Control, Month, deliver_month, read_control, read_month, reference_file
from include.partition import Partition
from include.rules import judge, read_facts, read_rows
from include.staging import stage_month
from include.warehouse import (
    ReconciliationError,
    Settlement,
    prepare,
    replace_partition,
    settle,
    year_is_due,
)
from tests.templates import render

MAY = Month(2013, 5)
Connect = Callable[[], Any]

TOTALS = {
    "flights": "select origin, status, count(*), sum(distance), sum(arr_delay), md5(string_agg(f::text, '' order by "
    "f::text)) from flights f group by origin, status order by 1, 2",
    "quarantine": "select origin, reason, count(*), md5(string_agg(record::text, '' order by line)) "
    "from flights_quarantine group by origin, reason order by 1, 2",
    "deliveries": "select month, rows, sha256, loaded, quarantined from deliveries",
    "references": "select name, sha256 from reference_files order by 1",
}
MARTS = ("mart_on_time", "mart_hours", "mart_weather", "mart_carriers", "mart_routes")


def ingest(connect: Connect, landing: Path, staging: Path) -> Settlement:
    """Do what a run of flights_ingest does."""
    prepare(connect(), landing)
    partitions = stage(landing, staging)
    for partition in partitions:
        replace_partition(connect(), staging, partition)
    return settle(connect(), MAY, read_control(landing, MAY), partitions)


def stage(landing: Path, staging: Path) -> list[Partition]:
    references = [reference_file(landing, name).read_bytes() for name in ("airlines", "airports")]
    return stage_month(staging, MAY, judge(read_rows(read_month(landing, MAY)), read_facts(MAY, *references)))


def refresh(connect: Connect) -> None:
    """Do what a run of flights_marts does, gates included."""
    for name in ("check_facts", "refresh_months", "refresh_year", "check_marts", "publish_year"):
        with connect() as connection:
            cursor = connection.execute(render(f"{name}.sql"))
            if name.startswith("check"):
                columns = [column.name for column in cursor.description]
                assert dict(zip(columns, cursor.fetchone(), strict=True)) == dict.fromkeys(columns, True)


def read_totals(connect: Connect) -> dict[str, list[tuple[Any, ...]]]:
    with connect() as connection:
        return {name: connection.execute(query).fetchall() for name, query in TOTALS.items()}


def read_marts(connect: Connect) -> dict[str, list[tuple[Any, ...]]]:
    with connect() as connection:
        return {mart: connection.execute(f"select * from {mart} order by 1, 2, 3, 4").fetchall() for mart in MARTS}


def test_a_month_loaded_twice_and_once_interrupted_has_the_same_totals(
    connect: Connect, landing: Path, tmp_path: Path
) -> None:
    settlement = ingest(connect, landing, tmp_path)
    assert settlement == Settlement("2013-05", rows=28_796, loaded=28_171, quarantined=625)
    refresh(connect)
    totals, marts = read_totals(connect), read_marts(connect)

    assert ingest(connect, landing, tmp_path) == settlement
    refresh(connect)
    assert read_totals(connect) == totals
    assert read_marts(connect) == marts

    # The file breaks off after the delete and half of the COPY.
    partition = stage(landing, tmp_path)[0]
    staged = partition.flights_file(tmp_path)
    whole = staged.read_bytes()
    staged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Exception, match=r"COPY flights|copied"):
        replace_partition(connect(), tmp_path, partition)
    assert read_totals(connect) == totals

    # The connection goes away after everything was written and before the commit.
    staged.write_bytes(whole)
    broken = connect()
    broken.commit = broken.close
    replace_partition(broken, tmp_path, partition)
    assert read_totals(connect) == totals

    ingest(connect, landing, tmp_path)
    assert read_totals(connect) == totals


def test_a_corrected_delivery_replaces_the_month_and_frees_the_quarantine(
    connect: Connect, landing: Path, tmp_path: Path
) -> None:
    ingest(connect, landing, tmp_path / "staging")
    corrected = tmp_path / "landing"
    corrected.mkdir()
    for file in landing.iterdir():
        (corrected / file.name).write_bytes(file.read_bytes())
    with reference_file(corrected, "airports").open("ab") as airports:
        for code in ("SJU", "BQN", "STT", "PSE"):
            airports.write(f"{code},Added,18.4,-66.0,9,-4,N,America/Puerto_Rico\n".encode())
    again = ingest(connect, corrected, tmp_path / "staging")
    assert (again.rows, again.quarantined) == (28_796, 80)

    csv = read_month(landing, MAY).splitlines(keepends=True)
    smaller = [line for number, line in enumerate(csv) if number == 0 or b",LGA," not in line]
    deliver_month(corrected, MAY, b"".join(smaller))
    settlement = ingest(connect, corrected, tmp_path / "staging")
    assert settlement.rows == len(smaller) - 1
    assert {row[0] for row in read_totals(connect)["flights"]} == {"EWR", "JFK"}


def test_lost_rows_are_noticed_and_the_month_is_not_settled(connect: Connect, landing: Path, tmp_path: Path) -> None:
    prepare(connect(), landing)
    partitions = stage(landing, tmp_path)
    for partition in partitions[1:]:
        replace_partition(connect(), tmp_path, partition)
    with pytest.raises(ReconciliationError, match="do not add up"):
        settle(connect(), MAY, Control(28_796, "0"), partitions)
    assert read_totals(connect)["deliveries"] == []


def test_references_are_loaded_once_and_cleaned(connect: Connect, landing: Path) -> None:
    assert prepare(connect(), landing) == ["airlines", "airports", "planes", "weather"]
    assert prepare(connect(), landing) == []
    with connect() as connection:
        row = connection.execute("select count(*), max(wind_speed) < 60 from weather").fetchone()
    assert row == (26_115, True)


def test_the_year_is_due_until_it_is_published_from_what_is_made(
    connect: Connect, landing: Path, tmp_path: Path
) -> None:
    ingest(connect, landing, tmp_path)
    with connect() as connection:
        connection.execute(render("refresh_months.sql"))
    assert not year_is_due(connect(), year_months=2)
    assert year_is_due(connect(), year_months=1)
    refresh(connect)
    assert not year_is_due(connect(), year_months=1)
    ingest(connect, landing, tmp_path)
    with connect() as connection:
        connection.execute(render("refresh_months.sql"))
    assert year_is_due(connect(), year_months=1)

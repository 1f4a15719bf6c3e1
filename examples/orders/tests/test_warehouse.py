"""On a real PostgreSQL: a day loaded twice changes nothing, and bad data never reaches the people who read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

import shop_api
from include.models import read_models, write_publish
from include.scoring import score, train
from include.settings import BATCHES, SQL
from include.warehouse import list_differences, replace_day, replace_payouts

Connect = Callable[[], Any]
TABLES = ("raw_orders", "marts.stg_orders", "marts.stg_rejected", "marts.mart_days", "marts.mart_customers")
DAYS = [str(day) for day in shop_api.list_days()]


class CheckFailed(Exception):
    """The checks of a model that are not true."""


def orders_of(day: str) -> Iterator[dict[str, Any]]:
    return (asdict(order) for order in shop_api.make_orders(date.fromisoformat(day)))


def load(connect: Connect, *days: str) -> None:
    for day in days:
        with connect() as connection:
            replace_day(connection, day, orders_of(day))


def refresh(connect: Connect) -> None:
    """Do what a run of orders_marts does: each task is a transaction."""
    models = read_models()
    for model in models:
        with connect() as connection:
            connection.execute(model.build)
        with connect() as connection:
            check(connection, model.check)
    with connect() as connection:
        connection.execute(write_publish(models))


def check(connection: Connection[Any], select: str) -> None:
    cursor = connection.execute(select)
    row = dict(zip([column.name for column in cursor.description or ()], cursor.fetchone() or (), strict=True))
    if wrong := [name for name, value in row.items() if value is not True]:
        raise CheckFailed(*wrong)


def read(connect: Connect, *tables: str) -> dict[str, list[Any]]:
    with connect() as connection:
        return {name: sorted(map(str, connection.execute(f"select * from {name}").fetchall())) for name in tables}


def test_a_day_loaded_twice_and_once_interrupted_has_the_same_contents(connect: Connect) -> None:
    load(connect, *DAYS[:2])
    refresh(connect)
    before = read(connect, *TABLES)
    load(connect, DAYS[0])
    refresh(connect)
    assert read(connect, *TABLES) == before

    def break_off() -> Iterator[dict[str, Any]]:
        yield next(orders_of(DAYS[0]))
        raise ConnectionError("the process ends here")

    with pytest.raises(ConnectionError), connect() as connection:
        replace_day(connection, DAYS[0], break_off())
    assert read(connect, *TABLES) == before


def test_every_line_is_an_order_a_newer_line_or_a_rejected_one(connect: Connect) -> None:
    load(connect, DAYS[0])
    refresh(connect)
    lines = list(orders_of(DAYS[0]))
    found = read(connect, "marts.stg_orders", "marts.stg_rejected")
    assert len(found["marts.stg_orders"]) == len({line["id"] for line in lines}) == len(lines) - 2
    with connect() as connection:
        assert connection.execute("select reason from marts.stg_rejected").fetchall() == [("no_customer",)]
        row = connection.execute(
            "select is_returned from marts.stg_orders where order_id = %s", (lines[7]["id"],)
        ).fetchone()
    # Its last line says so; the first one did not.
    assert (lines[7]["status"], row) == ("delivered", (True,))


def test_data_that_fails_a_check_is_not_published(connect: Connect) -> None:
    load(connect, DAYS[0])
    refresh(connect)
    before = read(connect, *TABLES[1:])
    with connect() as connection:
        replace_day(connection, DAYS[1], ({**order, "amount_cents": None} for order in orders_of(DAYS[1])))
    with pytest.raises(CheckFailed, match="few_lines_are_rejected"):
        refresh(connect)
    assert read(connect, *TABLES[1:]) == before
    # The shop mends the day, the run is repeated, and all is well.
    load(connect, DAYS[1])
    refresh(connect)
    assert len(read(connect, "marts.mart_days")["marts.mart_days"]) == 2


def test_a_day_that_is_loaded_between_two_tasks_of_a_refresh_disturbs_no_check(connect: Connect) -> None:
    load(connect, DAYS[0])
    models = read_models()
    for model in models:
        with connect() as connection:
            connection.execute(model.build)
        load(connect, DAYS[1 + models.index(model)])
        with connect() as connection:
            check(connection, model.check)
    with connect() as connection:
        connection.execute(write_publish(models))
    assert len(read(connect, "marts.mart_days")["marts.mart_days"]) == 1
    # The events of these days start a refresh more, and it sees all of them.
    refresh(connect)
    assert len(read(connect, "marts.mart_days")["marts.mart_days"]) == 1 + len(models)


def test_publishing_keeps_what_was_granted(connect: Connect) -> None:
    load(connect, DAYS[0])
    refresh(connect)
    with connect() as connection:
        connection.execute("grant select on marts.mart_days to public")
    refresh(connect)
    with connect() as connection:
        row = connection.execute("select relacl::text from pg_class where oid = 'marts.mart_days'::regclass").fetchone()
    assert row is not None
    assert "=r/" in row[0]


def test_scores_know_returns_and_a_batch_scored_twice_is_the_same(connect: Connect) -> None:
    load(connect, *DAYS)
    refresh(connect)
    with connect() as connection:
        weights = train(connection)
    for batch in range(BATCHES):
        with connect() as connection:
            assert score(connection, batch, weights) > 400
    with connect() as connection:
        check(connection, (SQL / "check_scores.sql").read_text())
    before = read(connect, "return_scores", "return_models")
    with connect() as connection:
        assert train(connection) == weights
        score(connection, 2, weights)
    assert read(connect, "return_scores", "return_models") == before


def test_the_day_on_which_the_bank_forgot_an_order_is_named(connect: Connect, tmp_path: Path) -> None:
    load(connect, *DAYS)
    refresh(connect)
    shop_api.write_payouts(tmp_path / "payouts.csv")
    for _ in range(2):
        with connect() as connection:
            assert replace_payouts(connection, tmp_path / "payouts.csv") == len(DAYS)
            ((day, expected, paid),) = list_differences(connection)
    assert (day, paid < expected) == (str(shop_api.SHORT_DAY), True)

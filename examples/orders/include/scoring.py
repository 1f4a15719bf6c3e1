"""Which orders will come back: a logistic regression in plain Python, trained and applied with little memory.

Rows come from a server-side cursor, so a task holds FETCH of them, whatever the table has.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from include.settings import BATCHES, SQL
from include.warehouse import prepare

if TYPE_CHECKING:
    from psycopg import Connection

MODEL = "returns"
FETCH = 500
EPOCHS = 12
RATE = 0.05
FEATURES = ("one", "items", "discount", "app")

Row = tuple[str, int, int, bool, bool]


def describe(row: Row) -> tuple[float, ...]:
    """Return the features of an order, each about as large as the others."""
    _, items, discount_percent, is_app, _ = row
    return 1.0, items / 6, discount_percent / 30, float(is_app)


def predict(weights: Sequence[float], features: Sequence[float]) -> float:
    """Return the probability that an order comes back."""
    return 1 / (1 + math.exp(-sum(weight * value for weight, value in zip(weights, features, strict=True))))


def learn(weights: Sequence[float], rows: Iterable[Row], rate: float) -> list[float]:
    """Return the weights after one pass over the rows."""
    learnt = list(weights)
    for row in rows:
        features = describe(row)
        error = float(row[4]) - predict(learnt, features)
        for place, value in enumerate(features):
            learnt[place] += rate * error * value
    return learnt


def train(connection: Connection[Any]) -> list[float]:
    """Learn from all published orders, and keep the weights. The same orders give the same weights.

    Raises:
        ValueError: There are no orders.
    """
    prepare(connection)
    weights = [0.0] * len(FEATURES)
    for epoch in range(EPOCHS):
        weights = learn(weights, read_orders(connection, None), RATE / (1 + epoch))
    (count,) = connection.execute("select count(*) from marts.stg_orders").fetchone() or (0,)
    if not count:
        raise ValueError("no orders to learn from")
    connection.execute((SQL / "keep_model.sql").read_text(), (MODEL, json.dumps(weights), count))
    return weights


def score(connection: Connection[Any], batch: int, weights: Sequence[float]) -> int:
    """Make the scores of a batch those of these weights, and return how many there are."""
    with connection.cursor() as cursor:
        cursor.execute("delete from return_scores where batch = %s", (batch,))
        number = 0
        for row in read_orders(connection, batch):
            cursor.execute(
                "insert into return_scores (batch, order_id, score) values (%s, %s, %s)",
                (batch, row[0], predict(weights, describe(row))),
            )
            number += 1
    return number


def read_orders(connection: Connection[Any], batch: int | None) -> Iterator[Row]:
    """Yield the orders of a batch, or all, in the order of their ids."""
    with connection.cursor(name="orders") as cursor:
        cursor.itersize = FETCH
        cursor.execute((SQL / "read_orders.sql").read_text(), {"batch": batch, "batches": BATCHES})
        yield from cursor

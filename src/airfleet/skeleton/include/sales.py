"""What a sale is, and sums of sales. Nothing here knows Airflow, so that tests need none."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Sale:
    """One line of the till."""

    product: str
    quantity: int
    price: Decimal

    @property
    def cents(self) -> int:
        """What it brought."""
        return int(self.quantity * self.price * 100)


def read(text: str) -> list[Sale]:
    """The sales in a CSV file with a line of headings."""
    rows = csv.DictReader(io.StringIO(text))
    return [Sale(row["product"], int(row["quantity"]), Decimal(row["price"])) for row in rows]


def sum_by_product(sales: Iterable[Sale]) -> dict[str, int]:
    """The cents that each product brought."""
    totals: Counter[str] = Counter()
    for sale in sales:
        totals[sale.product] += sale.cents
    return dict(totals)


def find_impossible(totals: Mapping[str, int]) -> list[str]:
    """The products whose total cannot be true."""
    return sorted(product for product, cents in totals.items() if cents < 0)


def describe(totals: Mapping[str, int]) -> list[str]:
    """A line for each product, the best first."""
    best = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    return [f"{product}: {cents / 100:.2f}" for product, cents in best]

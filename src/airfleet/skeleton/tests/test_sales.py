"""Sums of sales."""

from __future__ import annotations

from decimal import Decimal

import pytest

from include import sales
from include.sales import Sale

TEXT = "product,quantity,price\ntea,2,2.50\ncake,1,4.00\ntea,1,2.50\n"


def test_sales_are_summed_up_by_product() -> None:
    assert sales.sum_by_product(sales.read(TEXT)) == {"tea": 750, "cake": 400}


@pytest.mark.parametrize("price", ["0.29", "1.15", "19.99"])
def test_no_cent_is_lost(price: str) -> None:
    assert Sale("tea", 1, Decimal(price)).cents == int(price.replace(".", ""))


def test_a_total_below_zero_is_impossible() -> None:
    assert sales.find_impossible({"tea": 750, "cake": -1}) == ["cake"]


def test_the_best_comes_first() -> None:
    assert sales.describe({"cake": 400, "tea": 750}) == ["tea: 7.50", "cake: 4.00"]

"""Advisory locks of one database: a number that two of them share makes each wait for the other."""

from __future__ import annotations

from airfleet_provider.contract import locks


def test_every_lock_has_a_number_of_its_own() -> None:
    numbers = [value for name, value in vars(locks).items() if name.endswith("_LOCK")]
    assert len(numbers) > 1
    assert len(set(numbers)) == len(numbers)

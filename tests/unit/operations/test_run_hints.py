"""What to type when a run is not there."""

from __future__ import annotations

from airfleet.operations.explanation import suggest_run
from airfleet_provider.contract.explanation.reading import NotFoundError


def test_without_any_run_the_hint_makes_one() -> None:
    assert suggest_run(NotFoundError("the Dag sale has no run yet"), "sale") == "airfleet run sale"


def test_otherwise_the_hint_names_the_newest_runs() -> None:
    assert suggest_run(NotFoundError("the Dag sale has no run 'x'", ["a", "b"]), "sale") == "one of a, b"

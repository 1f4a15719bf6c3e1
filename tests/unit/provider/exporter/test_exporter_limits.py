"""However many names there are, the number of series stays below the limit, and what is left out is counted."""

from __future__ import annotations

from airfleet_provider.contract.metrics import METRICS, OTHER
from airfleet_provider.exporter.counters import Counters
from airfleet_provider.exporter.limits import LONGEST, LabelLimits

RUNS = "airfleet_dag_runs_total"
OVERDUE = "airfleet_dag_overdue_seconds"


def test_ten_thousand_dags_keep_the_sum_and_not_the_names() -> None:
    counters = Counters(LabelLimits())
    for number in range(10_000):
        counters.add(RUNS, f"dag_{number}", "success")
    series = counters.values[RUNS]
    assert len(series) == METRICS[RUNS].most
    assert sum(amounts[0] for amounts in series.values()) == 10_000
    assert counters.limits.count_refused()[RUNS,] == 10_000 - METRICS[RUNS].most + 1


def test_who_came_first_keeps_the_name_when_somebody_makes_many_more() -> None:
    limits = LabelLimits()
    assert limits.fold(OVERDUE, {("own",): 7.0}) == {("own",): 7.0}
    flood: dict[tuple[str, ...], float] = {(f"dag_{number}",): float(number) for number in range(5000)}
    folded = limits.fold(OVERDUE, {**flood, ("own",): 8.0})
    assert folded["own",] == 8.0
    assert len(folded) == METRICS[OVERDUE].most
    assert folded[OTHER,] == 4999.0, "the worst of the others is still seen"


def test_dags_that_are_gone_give_up_their_places() -> None:
    limits = LabelLimits()
    limits.fold(OVERDUE, {(f"dag_{number}",): 0.0 for number in range(5000)})
    assert limits.fold(OVERDUE, {("new",): 3.0}) == {("new",): 3.0}
    assert limits.count_refused() == {}
    counters = Counters(limits)
    for number in range(3000):
        counters.add(RUNS, f"dag_{number}", "success")
    counters.forget("dag_id", lambda dag_id: dag_id == "dag_1")
    assert list(counters.values[RUNS]) == [("dag_1", "success")]
    assert limits.count_refused() == {}
    counters.add(RUNS, "new", "failed")
    assert counters.values[RUNS]["new", "failed"] == (1.0,)


def test_a_name_has_no_more_letters_than_an_id() -> None:
    assert LabelLimits().admit(OVERDUE, ("x" * 5000,)) == ("x" * LONGEST,)

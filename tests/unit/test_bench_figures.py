"""The pure parts of the bench beside stock Airflow: percentiles, phases, ratios, tables."""

from __future__ import annotations

import pytest

import fleet_speed
from stock import figures, ratios, usage
from stock.__main__ import parse
from stock.figures import Instance, Run, Usage
from stock.usage import Seen
from stock.workloads import WORKLOADS


def make_instance(task: str, ready: float, *, state: str = "success") -> Instance:
    return Instance("d", "r", task, state, ready, ready + 1, ready + 3, ready + 6)


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [figures.percentile(values, percent) for percent in (50, 95, 99)] == [50, 95, 99]
    assert figures.percentile([7.0], 99) == 7.0
    assert figures.percentile([], 50) is None


def test_a_task_may_run_once_all_before_it_have_ended() -> None:
    edges = figures.list_upstream({"a": ["c"], "b": ["c"], "c": []})
    instances = [make_instance("a", 10), make_instance("b", 11), make_instance("c", 20)]
    phases = figures.measure_phases(instances, [Run("d", "r", "success", 9.0, 26.0)], {"d": edges})
    assert phases["finished_ready"] == [1, 2, 20 - 17]  # b ended last, at 17
    assert phases["queued_running"] == [2, 2, 2]
    assert phases["may_run_running"] == [4, 5, 6]


def test_the_figures_of_a_workload_are_per_task() -> None:
    instances = [make_instance("a", 10), make_instance("b", 10, state="failed")]
    runs = [Run("d", "r", "failed", 9.0, 18.0)]
    phases = figures.measure_phases(instances, runs, {"d": {"a": set(), "b": set()}})
    used = Usage(cpu={"api": 1.0, "task child": 3.0}, connections=4, transactions=30)
    found = figures.summarise(begun=8.0, instances=instances, runs=runs, phases=phases, usage=used)
    assert (found["wall_s"], found["tasks_per_s"], found["failed"]) == (10.0, 0.2, 1)
    assert found["cpu_s_per_task"] == {"api": 0.5, "task child": 1.5, "all": 2.0}
    assert (found["connections_per_task"], found["transactions_per_task"]) == (2.0, 15.0)


def test_what_a_supervisor_reaped_was_a_task() -> None:
    seen = [
        Seen("worker", 0, "celery", 1.0, 0.0),
        Seen("worker", 1, "pool", 2.0, 5.0),
        Seen("worker", 2, "task", 0.5, 0.0),
        Seen("postgres", 0, "postgres", 0.1, 4.0),
        Seen("scheduler", 0, "scheduler", 0.7, 0.2),
    ]
    assert usage.add_up(seen, "worker") == {
        "worker": 1.0,
        "supervisor": 2.0,
        "task child": 5.5,
        "database": 4.1,
        "scheduler": 0.7 + 0.2,
    }


def make_record(system: str, wall: float, *, workload: str = "seq40", history: int = 0) -> dict[str, object]:
    body = {"wall_s": wall, "tasks_per_s": 40 / wall, "cpu_s_per_task": {"all": wall / 100}}
    return {"system": system, "executor": "celery", "history": history, "workload": workload, "figures": body}


def test_ratios_are_of_medians_and_above_one_where_airfleet_is_better() -> None:
    records = [make_record("stock", wall) for wall in (40.0, 48.0, 90.0)] + [make_record("airfleet", 4.0)]
    records += [make_record("stock", 20.0, workload="wide"), make_record("airfleet", 5.0, workload="wide")]
    found = ratios.compare(ratios.take_medians(records))
    assert (found["seq40_wall"], found["wide_rate"], found["cpu_per_task"]) == (12.0, 4.0, 4.0)
    assert found["chain_start_p95"] is None  # nobody ran it


def test_the_slowdown_is_the_worst_of_what_ran_both_ways() -> None:
    records = [
        make_record("airfleet", 4.0),
        make_record("airfleet", 5.0, history=3_000_000),
        make_record("airfleet", 10.0, workload="wide"),
        make_record("airfleet", 10.1, workload="wide", history=3_000_000),
    ]
    found = ratios.compare(ratios.take_medians(records))
    assert (found["history_slowdown"], found["stock_history_slowdown"]) == (1.25, None)


def test_what_is_slower_than_stock_is_named() -> None:
    records = [make_record("stock", 4.0), make_record("airfleet", 5.0), make_record("airfleet", 1.0, workload="wide")]
    medians = ratios.take_medians(records)
    assert ratios.find_slower(medians) == ["seq40/celery"]


def test_the_table_shows_what_one_system_alone_was_measured_for() -> None:
    text = ratios.render(ratios.take_medians([make_record("stock", 48.0)]))
    wall = next(line for line in text.splitlines() if "wall" in line)
    assert wall.split()[-3:] == ["48.00", "-", "-"]


def test_the_reference_load_is_held_up_to_the_first_step_that_is_not() -> None:
    steps = [
        {"system": system, "executor": "celery", "times_real_time": factor, "held": held}
        for system, factor, held in (
            ("stock", 2.0, True),
            ("stock", 3.0, False),
            ("stock", 4.5, True),  # luck
            ("airfleet", 2.0, True),
            ("airfleet", 3.0, True),
        )
    ]
    assert ratios.find_held(steps) == {"stock/celery": 2.0, "airfleet/celery": 3.0}


@pytest.mark.parametrize(
    "words",
    [["--workloads", "seq40,nope"], ["--executors", "kubernetes"], ["--systems", "airflow"], ["--history", "many"]],
)
def test_a_wrong_word_on_the_command_line_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(words)
    assert stop.value.code == 2
    assert words[1].rsplit(",", maxsplit=1)[-1] in capsys.readouterr().err


def test_the_command_line_chooses_what_runs() -> None:
    chosen = parse(["--workloads", "seq40,wide", "--executors", "celery", "--rounds", "1"])
    assert (chosen.workloads, chosen.executors, chosen.rounds) == (["seq40", "wide"], ["celery"], 1)
    assert parse([]).workloads == list(WORKLOADS)


def test_the_figures_of_a_fleet_are_medians_and_ratios_above_one_where_airfleet_is_better() -> None:
    walls = {
        "airfleet": {"seq40": [4.0, 6.0], "wide": [10.0, 10.0], "chain": [5.0, 5.0]},
        "stock": {"seq40": [40.0, 60.0], "wide": [50.0, 50.0], "chain": [25.0, 25.0]},
    }
    starts = {"airfleet": [0.1] * 18 + [0.25, 9.0], "stock": [1.0] * 18 + [2.5, 9.0]}
    found = fleet_speed.summarise(walls, starts, {"cold": 1, "warm": 479, "fast": 990, "slow": 10})
    assert (found["seq40_s"], found["stock_seq40_s"], found["seq40_ratio"]) == (5, 50, 10)
    assert (found["wide_rate"], found["stock_wide_rate"], found["wide_ratio"]) == (20, 4, 5)
    assert (found["chain_start_p95_s"], found["stock_chain_start_p95_s"]) == (0.25, 2.5)
    assert found["chain_start_p95_ratio"] == 10
    assert (found["cold_starts"], found["fast_path_share"]) == (1, 0.99)

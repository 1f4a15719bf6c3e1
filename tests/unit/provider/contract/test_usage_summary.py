"""Which limit on memory `airfleet usage` advises."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from airfleet_provider.contract.usage_summary import ChosenAttempts, Quantiles, UsageSummary, summarise

MIB, GIB = 1 << 20, 1 << 30
TASK = UsageSummary(
    pool="memory",
    dag_id="sales",
    task_id="train",
    attempts=100,
    recorded=100,
    measured=100,
    memory_kills=0,
    signals=0,
    is_group=True,
    limit=4 * GIB,
    memory=Quantiles(500 * MIB, 1.1 * GIB, 1.2 * GIB),
    cpu_s=None,
    run_s=None,
    read=None,
    written=None,
)


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        (TASK, "p99 1.1 GiB of 4.0 GiB asked; `memory: 1472M` would fit"),
        (replace(TASK, limit=2 * GIB), "the limit fits"),
        (replace(TASK, limit=GIB), "near its limit of 1.0 GiB; `memory: 1472M` would leave room"),
        (
            replace(TASK, limit=2 * GIB, memory=Quantiles(GIB, 2 * GIB, 2 * GIB), is_group=True),
            "reached its limit of 2.0 GiB without a kill: files that it read or wrote filled it",
        ),
        (replace(TASK, limit=None), "no limit; `memory: 1472M` would fit"),
        (
            replace(TASK, limit=GIB, memory_kills=3),
            "memory killed 3 of 100 attempts, and the limit is 1.0 GiB: try `memory: 2G`",
        ),
        (replace(TASK, measured=19), "too few attempts for advice: 19 of 20"),
        (replace(TASK, memory=None, measured=0), "too few attempts for advice: 0 of 20"),
        (replace(TASK, dag_id=None, task_id=None), "p99 1.1 GiB of 4.0 GiB asked"),
        (replace(TASK, dag_id=None, task_id=None, limit=None), ""),
        (replace(TASK, dag_id=None, task_id=None, memory_kills=3), "p99 1.1 GiB of 4.0 GiB asked"),
    ],
)
def test_the_advice_is_about_the_limit_of_the_task(found: UsageSummary, advice: str) -> None:
    assert found.advice == advice


def test_a_limit_that_fits_is_above_every_peak() -> None:
    one_peak = replace(TASK, memory=Quantiles(50 * MIB, 60 * MIB, 900 * MIB))
    assert (one_peak.fitting_limit or 0) >= 1.1 * 900 * MIB


def test_attempts_without_a_record_are_no_measure() -> None:
    row = {
        "pool": "default", "dag_id": "d", "task_id": "t", "attempts": 3, "recorded": 0, "measured": 0,
        "memory_kills": 0, "signals": 0, "is_group": False, "limit_kib": None, "memory_kib": None, "cpu_s": None,
        "run_s": [1.0, 2.0, 3.0], "read_kib": None, "written_kib": None,
    }  # fmt: skip
    [found] = summarise(lambda *_: [row], ChosenAttempts(datetime(2026, 1, 1, tzinfo=UTC)))
    assert found.memory is None
    assert found.run_s == Quantiles(1.0, 2.0, 3.0)

"""Which index of a log store in OpenSearch a line goes to."""

from __future__ import annotations

from dataclasses import replace

from airfleet_provider.log_index.opensearch import find_index
from log_hosts import make_line

DAY = 86_400 * 1_000_000


def test_lines_of_a_dag_file_that_say_old_times_make_no_index_of_each_day() -> None:
    line = make_line(1, "host1:20261129-a", component="dag-processor", dag="", task="", run="")
    assert {find_index("logs", replace(line, at=day * DAY)) for day in range(1000)} == {"logs-2026.11.29"}


def test_an_entry_of_the_journal_goes_to_its_own_day() -> None:
    line = make_line(1, "host1:journal-0af", component="scheduler", dag="", task="", run="")
    assert find_index("logs", replace(line, at=20_000 * DAY)) == "logs-2024.10.04"

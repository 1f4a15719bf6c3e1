"""How long an alert takes from a condition to the agents, with real Prometheus and Alertmanager; and what panels show.

PYTHONPATH=bench:tests/support python bench/alerting.py      into bench/results/observe.json

`alert_to_agents_s` is the longest time from the change of a metric until the agents have the report of Alertmanager,
beyond the `for` of the rule: the scrape, the evaluation of rules and the grouping, with the intervals that airfleet
sets. What the agents' notifier takes afterwards is not part of it. `panels_without_data` counts the panels of the
dashboards of which a query returns nothing, with the answers of all exporters that the tests have.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import expositions
import prometheus_server
import support
from airfleet_provider.contract.dashboards.catalogue import DASHBOARDS
from deadline import wait_until
from expositions import Exporters

ALERT, METRIC, FOR_S = "SchedulerDown", "airfleet_scheduler_loop_age_seconds", 20.0
HEALTHY, BROKEN = 1.0, 90.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6)
    trials = parser.parse_args().trials
    chance = random.Random(0)  # noqa: S311 - moments within an interval
    with expositions.serve() as exporters, prometheus_server.serve(exporters.port, fast=False) as prometheus:
        wait_until(lambda: prometheus.query("airfleet:scheduler:available"), "the first evaluation")
        delays, ends = [], []
        for trial in range(trials):
            time.sleep(chance.uniform(0, 10))
            delays.append(_time(exporters, BROKEN, "firing") - FOR_S)
            ends.append(_time(exporters, HEALTHY, "resolved"))
            support.say(
                f"trial {trial + 1} of {trials}: reported after {delays[-1]:.1f} s, its end after {ends[-1]:.1f} s"
            )
        empty = [
            panel.title
            for board in DASHBOARDS
            for panel in board.panels
            if not all(prometheus.query(query.expr) for query in panel.queries)
        ]
    support.say(f"panels without data: {', '.join(empty) or 'none'}")
    figures = {
        "alert_to_agents_s": round(max(delays), 1),
        "alert_to_agents_median_s": round(statistics.median(delays), 1),
        "alert_end_to_agents_s": round(max(ends), 1),
        "panels": sum(len(board.panels) for board in DASHBOARDS),
        "panels_without_data": len(empty),
    }
    support.write("observe", {**support.read("observe"), **figures})


def _time(exporters: Exporters, value: float, status: str) -> float:
    """Return the seconds from a change of the metric until the agents have the report of this status."""
    exporters.alerts.clear()
    exporters.gauges[METRIC] = value
    begun = time.monotonic()

    def is_reported() -> bool:
        return any(one["labels"]["alertname"] == ALERT and one["status"] == status for one in list(exporters.alerts))

    wait_until(is_reported, f"{ALERT} is {status}")
    return time.monotonic() - begun


if __name__ == "__main__":
    main()

"""Every metric that a log agent or a log store exports, as data. docs/reference/metrics.md is made from this table."""

from __future__ import annotations

from airfleet_provider.contract.metrics import Metric, MetricKind, Scope


def _own(name: str, kind: MetricKind, text: str, *labels: str) -> Metric:
    # A fleet has two log stores at most.
    return Metric(name, kind, text, labels, most=2 if labels else 1, scope=Scope.PROCESS)


# The store that an agent writes to: the name of a host, or "index" where it writes the index itself.
STORE = "store"
LINES = _own("airfleet_log_lines_total", MetricKind.COUNTER, "Lines that the index has kept.", STORE)
BYTES = _own(
    "airfleet_log_bytes_total", MetricKind.COUNTER, "Bytes of log files and of the journal that were read.", STORE
)
CUT_BYTES = _own(
    "airfleet_log_cut_bytes_total",
    MetricKind.COUNTER,
    "Bytes that were left out, because a try had written too much.",
    STORE,
)
CUT_TRIES = _own("airfleet_log_cut_tries_total", MetricKind.COUNTER, "Tries of which the rest was left out.", STORE)
LEFT_OUT = _own(
    "airfleet_log_left_out_lines_total",
    MetricKind.COUNTER,
    "Lines that the index cannot keep. A line that says so is in the place of each.",
    STORE,
)
FAILURES = _own(
    "airfleet_log_failures_total", MetricKind.COUNTER, "Turns of the agent that failed. They are tried again.", STORE
)
WAITING = _own(
    "airfleet_log_waiting_bytes",
    MetricKind.GAUGE,
    "Bytes that were in the files, but not read, after the last turn.",
    STORE,
)
FILES = _own(
    "airfleet_log_files", MetricKind.GAUGE, "Files that changed within a day, which the agent looks at.", STORE
)
AGE = _own(
    "airfleet_log_age_seconds",
    MetricKind.GAUGE,
    "Time since the last turn that succeeded. Lines that are younger may not be found.",
    STORE,
)
LOG_METRICS = (LINES, BYTES, CUT_BYTES, CUT_TRIES, LEFT_OUT, FAILURES, WAITING, FILES, AGE)

STORE_LINES = _own(
    "airfleet_log_store_lines_total", MetricKind.COUNTER, "Lines that agents sent and the log store has."
)
STORE_LEFT_OUT = _own(
    "airfleet_log_store_left_out_lines_total",
    MetricKind.COUNTER,
    "Lines that the log store cannot keep. A line that says so is in the place of each.",
)
STORE_COMMITS = _own("airfleet_log_store_commits_total", MetricKind.COUNTER, "Commits of the log store.")
STORE_FAILURES = _own(
    "airfleet_log_store_failures_total", MetricKind.COUNTER, "Commits that failed. The agents send their lines again."
)
STORE_FAILING = _own("airfleet_log_store_failing", MetricKind.GAUGE, "1 if the last commit of the log store failed.")
STORE_METRICS = (STORE_LINES, STORE_LEFT_OUT, STORE_COMMITS, STORE_FAILURES, STORE_FAILING)

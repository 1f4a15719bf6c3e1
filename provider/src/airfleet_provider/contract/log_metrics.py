"""Every metric that a log agent exports, as data. docs/reference/metrics.md is made from this table."""

from __future__ import annotations

from airfleet_provider.contract.metrics import Kind, Metric, Scope


def _own(name: str, kind: Kind, text: str) -> Metric:
    return Metric(name, kind, text, scope=Scope.PROCESS)


LINES = _own("airfleet_log_lines_total", Kind.COUNTER, "Lines that the index has kept.")
BYTES = _own("airfleet_log_bytes_total", Kind.COUNTER, "Bytes of log files that were read.")
CUT_BYTES = _own(
    "airfleet_log_cut_bytes_total", Kind.COUNTER, "Bytes that were left out, because a try had written too much."
)
CUT_TRIES = _own("airfleet_log_cut_tries_total", Kind.COUNTER, "Tries of which the rest was left out.")
LEFT_OUT = _own(
    "airfleet_log_left_out_lines_total",
    Kind.COUNTER,
    "Lines that the index cannot keep. A line that says so is in the place of each.",
)
FAILURES = _own("airfleet_log_failures_total", Kind.COUNTER, "Turns of the agent that failed. They are tried again.")
WAITING = _own(
    "airfleet_log_waiting_bytes", Kind.GAUGE, "Bytes that were in the files, but not read, after the last turn."
)
FILES = _own("airfleet_log_files", Kind.GAUGE, "Files that changed within a day, which the agent looks at.")
AGE = _own(
    "airfleet_log_age_seconds",
    Kind.GAUGE,
    "Time since the last turn that succeeded. Lines that are younger may not be found.",
)
LOG_METRICS = (LINES, BYTES, CUT_BYTES, CUT_TRIES, LEFT_OUT, FAILURES, WAITING, FILES, AGE)

"""The file that configures the log agent (`AIRFLEET_LOG_AGENT`): one JSON object with these keys.

The control side writes it. It holds no secret.
"""

from __future__ import annotations

from enum import StrEnum

# What the log agent keeps of one try, and for how many days it keeps lines, if fleet.yaml does not say otherwise.
MOST_BYTES_PER_TRY = 64 << 20
KEEP_DAYS = 30


class Key(StrEnum):
    """The keys of the file."""

    # The name of this host, as it is found with each line.
    HOST = "host"
    # Where the process serves `/metrics` and `/health`: `address` and `port`.
    SERVER = "server"
    # The folder of the index, which has a folder for each day.
    INDEX = "index"
    # The file that says how far each log file was taken.
    POSITIONS = "positions"
    # The folder whose files are the logs of components, such as `scheduler.log`.
    COMPONENTS = "components"
    # The folder of the logs of tasks, Airflow's `base_log_folder`.
    TASKS = "tasks"
    # Further folders of logs: for the name of a component, its folder.
    TREES = "trees"
    # Bytes of each try that are taken.
    MOST_BYTES_PER_TRY = "most_bytes_per_try"
    # Days for which lines are kept.
    KEEP_DAYS = "keep_days"
    # Regular expressions of what is hidden in lines.
    REDACT = "redact"

"""The file that configures the log agent (`AIRFLEET_LOG_AGENT`): one JSON object with these keys.

The control side writes it. It holds no secret.
"""

from __future__ import annotations

from enum import StrEnum

# The file of positions of an agent that writes the index itself.
POSITIONS = "positions"
# What the log agent keeps of one try, and for how many days it keeps lines, if fleet.yaml does not say otherwise.
MOST_BYTES_PER_TRY = 64 << 20
KEEP_DAYS = 30


class LogAgentKey(StrEnum):
    """The keys of the file."""

    # The name of this host, as it is found with each line.
    HOST = "host"
    # Where the process serves `/metrics` and `/health`: `address` and `port`.
    SERVER = "server"
    # The folder of the index, which has a folder for each day, if the agent writes it itself.
    INDEX = "index"
    # The log stores that get all lines, if there is no index: for the name of each, its URL, or the URLs of the hosts
    # that write to it, with spaces between.
    STORES = "stores"
    # What the agent proves to log stores: the files `certificate`, `key` and `authorities`.
    PROOF = "proof"
    # The folder of the files that say how far each log file was taken, one file for the index or for each store.
    POSITIONS = "positions"
    # The folder whose files are the logs of components, such as `scheduler.log`, or nothing.
    COMPONENTS = "components"
    # The command that reads the journal of this host, if components write to it.
    JOURNAL = "journal"
    # The folders of the logs of tasks, Airflow's `base_log_folder`.
    TASKS = "tasks"
    # Further folders of logs: for the name of a component, its folder.
    TREES = "trees"
    # Bytes of each try that are taken.
    MOST_BYTES_PER_TRY = "most_bytes_per_try"
    # Days for which lines are kept.
    KEEP_DAYS = "keep_days"
    # Regular expressions of what is hidden in lines.
    REDACT = "redact"

"""The environment variables with which the control side configures single processes of Airflow."""

from __future__ import annotations

# The address of this host in fleet.yaml.
ADDRESS = "AIRFLEET_ADDRESS"
# The file that configures the agents process (`agents_config`).
AGENTS = "AIRFLEET_AGENTS"
# The name under which PgBouncer has sessions of the metadata database for the calls of tasks. Unset without PgBouncer.
CALLS_DATABASE = "AIRFLEET_CALLS_DATABASE"
# The file with the logins and keys that this process uses with Celery.
CELERY = "AIRFLEET_CELERY"
# In the process of `airfleet dag test`: the test, as JSON (`dag_test_request`).
DAG_TEST = "AIRFLEET_DAG_TEST"
# The file that says where users are who are not in fleet.yaml (`directory`). Only an api-server has it.
DIRECTORY = "AIRFLEET_DIRECTORY"
# The file that exists while this worker is drained.
DRAINED = "AIRFLEET_DRAINED"
# The user of HAProxy on this host, and after a blank the addresses of this host from which it comes, with commas.
LOCAL_PROXY = "AIRFLEET_LOCAL_PROXY"
# The file that configures the log agent (`log_agent_config`).
LOG_AGENT = "AIRFLEET_LOG_AGENT"
# The file that configures the log store of a fleet (`log_store_config`).
LOG_STORE = "AIRFLEET_LOG_STORE"
# The URL at which a worker of a pool that does not scale reports, and learns whether it is drained.
DRAINS = "AIRFLEET_DRAINS"
# The pool of this worker.
POOL = "AIRFLEET_POOL"
# Set where systemd lets this worker make cgroups below the one of its unit.
DELEGATED = "AIRFLEET_DELEGATED"
# In a process of a task: how the names of its files of records begin, with their folder (`task_records`).
RECORDS = "AIRFLEET_RECORDS"
# The URL below which a worker downloads archives of releases.
RELEASES = "AIRFLEET_RELEASES"
# The descriptor of the pipe at which this process waits, with its modules imported, until its work may begin.
GATE = "AIRFLEET_GATE"
# Set where somebody may end this process by its session: what works for it must then stay in that session.
ONE_SESSION = "AIRFLEET_ONE_SESSION"
# Set in processes of tasks if the spans of their code are wanted.
SPANS = "AIRFLEET_SPANS"
# The URL at which a worker of a pool that scales reports, and learns its slots and whether it is drained.
SLOTS = "AIRFLEET_SLOTS"
# The folder for a component's files that outlast its process, such as counts of fallbacks.
STATE = "AIRFLEET_STATE"
# The folder for the state files of workers.
WORKERS = "AIRFLEET_WORKERS"


def name_page_drain(pool: str) -> str:
    """Return the name of the file, in the folder of `WORKERS`, that exists while a worker is drained by a page."""
    return f"{pool}.drained"

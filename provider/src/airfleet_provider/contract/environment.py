"""The environment variables by which the control side tells a process of Airflow what concerns that process only."""

from __future__ import annotations

# The address of this host in fleet.yaml.
ADDRESS = "AIRFLEET_ADDRESS"
# The file with the logins and keys that this process uses with Celery.
CELERY = "AIRFLEET_CELERY"
# The file that exists while this worker is drained.
DRAINED = "AIRFLEET_DRAINED"
# The URL below which a worker downloads archives of releases.
RELEASES = "AIRFLEET_RELEASES"
# The folder in which a component keeps what outlasts it, such as counts of fall-backs.
STATE = "AIRFLEET_STATE"
# The folder in which workers describe what they do.
WORKERS = "AIRFLEET_WORKERS"

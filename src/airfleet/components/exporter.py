"""What the exporter of metrics is told: the queues and slots of workers, and the servers that it asks for their health.

Its metrics are in `airfleet_provider.contract.metrics`.
"""

from __future__ import annotations

from airfleet import __version__
from airfleet.components import worker
from airfleet.components.host_model import API, AUTHORITIES, EXECUTION, Place
from airfleet.components.hosts import web_ports
from airfleet.components.model import Site
from airfleet.spec.fleet import Fleet

# Each answers without a login and without a look at the database.
API_PATH, EXECUTION_PATH = "/api/v2/version", "/"


def configure_one_machine(fleet: Fleet, site: Site) -> dict[str, object]:
    """Return the configuration on one machine. With LocalExecutor, a task may name any queue."""
    return {
        "version": __version__,
        "queues": {"names": list(worker.list_queues(fleet)), "is_open": not site.has_broker},
        "workers": [{"pool": fleet.executor, "slots": fleet.parallelism}],
        "probes": [
            _probe("api-server", fleet.name, f"{site.api_url}{API_PATH}"),
            _probe("execution-api", fleet.name, f"{site.execution_url}{EXECUTION_PATH}"),
        ],
        "backups": str(site.backups),
    }


def configure_host(place: Place) -> dict[str, object]:
    """Return the configuration on a scheduler host, which is about the whole fleet, but for `configure_members`."""
    fleet = place.fleet
    probes = [
        _probe(component, one.name, f"{'https' if one.has_tls else 'http'}://{one.place}{path}")
        for component, server, path in (
            ("api-server", API, API_PATH),
            ("execution-api", EXECUTION, EXECUTION_PATH),
        )
        for one in web_ports.list_upstreams(place, server)
    ]
    return {
        "version": __version__,
        "queues": {"names": list(fleet.queues), "is_open": False},
        "probes": probes,
        # The agents reach the database through it, and ask it how its pools are.
        "pooler": fleet.database is None,
        **({"authorities": str(AUTHORITIES)} if place.credentials.encryption.api.is_used else {}),
    }


def configure_members(fleet: Fleet) -> dict[str, object]:
    """Return the part of a scheduler host's configuration that changes when a host joins or leaves."""
    return {
        "workers": [
            {
                "pool": pool.name,
                "queues": list(pool.queues),
                "slots": pool.concurrency * sum(pool.name in host.pools for host in fleet.with_role("worker")),
            }
            for pool in fleet.pools
        ],
        # Airflow knows hosts by their addresses, everybody else by their names.
        "hosts": {host.address: host.name for host in fleet.hosts},
    }


def _probe(component: str, host: str, url: str) -> dict[str, str]:
    return {"component": component, "host": host, "url": url}

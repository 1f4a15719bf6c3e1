"""The agents on scheduler hosts: one process on each, of which one is active."""

from __future__ import annotations

from dataclasses import replace

from airfleet.components import agents, exporter
from airfleet.components.health import LOOPBACK, HttpCheck
from airfleet.components.host_model import (
    AGENTS_METRICS,
    AGENTS_USER,
    ETC,
    LIB,
    Folder,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
    private,
)
from airfleet.components.hosts import airflow
from airfleet.components.model import Site, reveal

# Not the folder of Airflow's servers, where a process of an earlier version may still start from its own file.
FOLDER = ETC / "agents"


def describe(place: Place) -> Part:
    """Describe the agents of a scheduler host. Without a monitor host, only the host itself reads their metrics.

    They run as a user of their own, because their configuration holds the secrets of receivers.
    """
    watchers = place.addresses("monitor")
    site = find_site(place)
    config = private(
        FOLDER / "agents.json",
        reveal(
            agents.render(
                place.fleet,
                site,
                place.credentials.platform,
                place.objects.notifications,
                exporter.configure_host(place),
                host=place.host.name,
            )
        ),
        AGENTS_USER,
    )
    process = agents.describe_process(site, config.path)
    (command,) = process.commands
    service = Service(
        name=process.name,
        what="agents: metrics, alerts, service levels",
        stage=Stage.CONTROL,
        command=tuple(map(reveal, command)),
        user=AGENTS_USER,
        files=(config,),
        env={
            # No such folder is there. A folder of another user could hold files that libraries read from a home.
            "HOME": str(LIB / AGENTS_USER),
            "PYTHONUNBUFFERED": "1",
            **{key: reveal(value) for key, value in process.env.items()},
        },
        health=process.health if isinstance(process.health, HttpCheck) else None,
    )
    return Part(
        name=process.name,
        users=(AGENTS_USER,),
        folders=(Folder(FOLDER),),
        files=(config,),
        services=(service,),
        ports=(OpenPort(site.agents_port, watchers, "metrics and health of the platform"),) if watchers else (),
    )


def find_site(place: Place) -> Site:
    """Return the site of a host, with the address and port on which its agents listen."""
    listen = place.listen if place.addresses("monitor") else LOOPBACK
    return replace(place.site(airflow.HOME), listen=listen, agents_port=place.fleet.ports.metrics or AGENTS_METRICS)

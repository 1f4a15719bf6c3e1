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
    HostFile,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
    private,
)
from airfleet.components.hosts import airflow, certificates
from airfleet.components.model import Site, reveal
from airfleet.spec.addresses import join_port

# Not the folder of Airflow's servers, where a process of an earlier version may still start from its own file.
FOLDER = ETC / "agents"


def describe(place: Place) -> Part:
    """Describe the agents of a scheduler host. Without a monitor host, only the host itself reads their metrics.

    They run as a user of their own, because their configuration holds the secrets of receivers.
    """
    watchers = place.addresses("monitor")
    site = find_site(place)
    # Only a server that other hosts reach has TLS.
    proof = certificates.list_files(place, FOLDER, AGENTS_USER) if watchers else ()
    hosts = HostFile(FOLDER / "hosts.json", agents.render_hosts(place.fleet), AGENTS_USER, 0o640)
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
                hosts=hosts.path,
                tls=_describe_tls(place, *proof) if proof else None,
                tracing=place.objects.tracing,
                openlineage=place.objects.openlineage,
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
        # The process reads its certificate at each connection and the hosts in each loop, so new ones restart nothing.
        files=(config, hosts, *proof),
        services=(service,),
        ports=(OpenPort(site.agents_port, watchers, "metrics and health of the platform"),) if watchers else (),
    )


def _describe_tls(place: Place, certificate: HostFile, key: HostFile) -> dict[str, object]:
    is_required = place.credentials.encryption.agents.is_required
    return {"certificate": str(certificate.path), "key": str(key.path), "tls_required": is_required}


def list_urls(place: Place) -> tuple[str, ...]:
    """Return the URLs at which monitor hosts reach the agents of all scheduler hosts."""
    scheme = "https" if place.credentials.encryption.agents.is_used else "http"
    port = place.fleet.ports.metrics or AGENTS_METRICS
    return tuple(f"{scheme}://{join_port(address, port)}" for address in place.addresses("scheduler"))


def find_site(place: Place) -> Site:
    """Return the site of a host, with the address and port on which its agents listen."""
    listen = place.listen if place.addresses("monitor") else LOOPBACK
    return replace(place.site(airflow.HOME), listen=listen, agents_port=place.fleet.ports.metrics or AGENTS_METRICS)

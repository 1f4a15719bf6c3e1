"""All components of one platform, in the order in which they start."""

from __future__ import annotations

from collections.abc import Mapping

from airfleet.components import (
    api_server,
    dag_processor,
    execution_api,
    image,
    metadata,
    postgres,
    rabbitmq,
    releaser,
    scheduler,
    settings,
    triggerer,
    worker,
)
from airfleet.components.base import Component, Credentials, Site
from airfleet.spec.fleet import Fleet


def describe(
    fleet: Fleet,
    site: Site,
    credentials: Credentials,
    *,
    connections: Mapping[str, object],
    variables: Mapping[str, object],
    versions: str,
    drain_s: float,
) -> tuple[Component, ...]:
    """One whole platform on one machine."""
    own = {name: metadata.connect_database(site, credentials, name) for name in fleet.databases}
    return (
        image.describe(site),
        postgres.describe(fleet, site, credentials),
        settings.describe(fleet, site, credentials),
        metadata.describe(
            site,
            credentials,
            connections={**own, **connections},
            variables=variables,
            slot_pools=fleet.slot_pools,
            versions=versions,
        ),
        api_server.describe(site),
        *_describe_tasks(fleet, site, drain_s=drain_s),
        dag_processor.describe(),
        triggerer.describe(),
        releaser.describe(),
    )


def _describe_tasks(fleet: Fleet, site: Site, *, drain_s: float) -> tuple[Component, ...]:
    if site.broker is None:
        return (
            execution_api.describe(site, runners=scheduler.list_names(fleet)),
            scheduler.describe(fleet, drain_s=drain_s),
        )
    return (
        rabbitmq.describe(site.broker),
        execution_api.describe(site, runners=(worker.NAME,)),
        scheduler.describe(fleet, drain_s=drain_s),
        worker.describe(fleet, site.broker, site.state, drain_s=drain_s),
    )

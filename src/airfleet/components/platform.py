"""All components of one platform, in the order in which they start."""

from __future__ import annotations

from collections.abc import Mapping

from airfleet.components import (
    api_server,
    celery,
    dag_processor,
    execution_api,
    image,
    metadata,
    postgres,
    rabbitmq,
    releaser,
    results,
    scheduler,
    settings,
    triggerer,
    worker,
)
from airfleet.components.base import Component, Credentials, File, Site
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
        *_describe_tasks(fleet, site, credentials, drain_s=drain_s),
        dag_processor.describe(),
        triggerer.describe(),
        releaser.describe(),
    )


def _describe_tasks(fleet: Fleet, site: Site, credentials: Credentials, *, drain_s: float) -> tuple[Component, ...]:
    if site.broker is None:
        return (
            execution_api.describe(site, runners=scheduler.list_names(fleet)),
            scheduler.describe(fleet, drain_s=drain_s),
        )
    return (
        rabbitmq.describe(site.broker, worker.list_queues(fleet)),
        execution_api.describe(site, runners=(worker.NAME,)),
        scheduler.describe(fleet, drain_s=drain_s, link=_link_scheduler(fleet, site, credentials, site.broker)),
        worker.describe(fleet, site, credentials, site.broker, drain_s=drain_s),
    )


def _link_scheduler(fleet: Fleet, site: Site, credentials: Credentials, broker: rabbitmq.Node) -> File:
    assert credentials.results is not None  # noqa: S101 - made beside the broker
    names = worker.list_queues(fleet)
    login, _ = rabbitmq.list_logins(broker, names)
    dsn = site.dsn(results.DATABASE, results.READER, credentials.results.reader, driver="psycopg2")
    text = celery.render_scheduler(broker.url(login), dsn, names, rabbitmq.QUEUE_TYPE, broker.signing)
    return File(broker.folder / "celery-scheduler.json", text)

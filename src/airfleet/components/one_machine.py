"""The components of a platform on one machine, in the order in which they start."""

from __future__ import annotations

from collections.abc import Mapping

from airfleet.components import (
    agents,
    api_server,
    archiver,
    celery,
    dag_processor,
    execution_api,
    image,
    log_agent,
    metadata,
    releaser,
    scheduler,
    settings,
    slots,
    token_keys,
    triggerer,
    worker,
)
from airfleet.components.model import BrokerLink, Component, Credentials, File, Site
from airfleet.components.monitoring import private_servers
from airfleet.components.monitoring.private_servers import MonitorNode
from airfleet.components.postgresql import embedded, result_database
from airfleet.components.postgresql import own_database as own
from airfleet.components.rabbitmq import own_broker, private_node
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from airfleet_provider.contract import environment
from airfleet_provider.contract.notification_policy import NotificationPolicy
from airfleet_provider.contract.openlineage_policy import OpenLineagePolicy
from airfleet_provider.contract.tracing_policy import TracingPolicy


def describe(
    fleet: Fleet,
    site: Site,
    credentials: Credentials,
    *,
    connections: Mapping[str, object],
    variables: Mapping[str, object],
    versions: str,
    access: Secret | None = None,
    directory: Secret | None = None,
    drain_s: float,
    notifications: NotificationPolicy = NotificationPolicy(),  # noqa: B008 - frozen
    tracing: TracingPolicy | None = None,
    openlineage: OpenLineagePolicy | None = None,
    monitor: MonitorNode | None = None,
) -> tuple[Component, ...]:
    """Return all components. Tasks have `drain_s` seconds to finish when the platform stops."""
    project = {name: metadata.connect_database(site, credentials, name) for name in fleet.databases}
    components = (
        *((log_agent.describe(fleet, site),) if site.log_agent_port else ()),
        image.describe(site),
        own.describe(site, site.own_database) if site.own_database else embedded.describe(fleet, site, credentials),
        settings.describe(fleet, site, credentials),
        metadata.describe(
            site,
            credentials,
            connections={**project, **connections},
            variables=variables,
            slot_pools=fleet.slot_pools,
            versions=versions,
            access=access,
        ),
        api_server.describe(site, directory=directory),
        *_describe_tasks(fleet, site, credentials, drain_s=drain_s),
        dag_processor.describe(),
        triggerer.describe(),
        releaser.describe(),
        agents.describe(fleet, site, credentials, notifications, tracing, openlineage),
        *(
            (archiver.describe(fleet.archive, archiver.find_store(fleet.archive, site.state)),)
            if fleet.archive.every_hours
            else ()
        ),
        *(
            (
                private_servers.describe(
                    fleet,
                    monitor,
                    site.agents_port,
                    credentials.jwt_secret,
                    log_agent_port=site.log_agent_port,
                    broker_port=site.broker.ports.metrics if site.broker else 0,
                ),
            )
            if monitor
            else ()
        ),
    )
    return token_keys.give(components, site.airflow_home, credentials)


def _describe_tasks(fleet: Fleet, site: Site, credentials: Credentials, *, drain_s: float) -> tuple[Component, ...]:
    link = _find_link(fleet, site)
    if link is None:
        return (
            execution_api.describe(site, runners=scheduler.list_names(fleet)),
            scheduler.describe(fleet, drain_s=drain_s),
        )
    return (
        link.server,
        execution_api.describe(site, runners=(worker.NAME,)),
        scheduler.describe(fleet, drain_s=drain_s, link=_link_scheduler(fleet, site, credentials, link)),
        worker.describe(fleet, site, credentials, link, drain_s=drain_s, reports=_find_reports(fleet, site)),
    )


def _find_reports(fleet: Fleet, site: Site) -> Mapping[str, str]:
    """Return the variable with the URL at which the worker reports."""
    name = environment.SLOTS if slots.list_rules(fleet) else environment.DRAINS
    return {name: slots.find_url(site.api_url, worker.POOL, slots.ONE_HOST)}


def _find_link(fleet: Fleet, site: Site) -> BrokerLink | None:
    names = worker.list_queues(fleet)
    if site.outside_broker:
        return own_broker.link_one_machine(site, site.outside_broker, names)
    return private_node.link(site.broker, names) if site.broker else None


def _link_scheduler(fleet: Fleet, site: Site, credentials: Credentials, link: BrokerLink) -> File:
    assert credentials.results is not None  # noqa: S101 - made beside the broker
    names = worker.list_queues(fleet)
    dsn = site.dsn(result_database.DATABASE, result_database.READER, credentials.results.reader, driver="psycopg2")
    text = celery.render_scheduler(link.publisher, dsn, names, link.kind, link.signing, link.authorities)
    return File(link.folder / "celery-scheduler.json", text)

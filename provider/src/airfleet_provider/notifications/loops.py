"""What the agents process runs and serves for alerts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import psycopg

from airfleet_provider.agent_loops.loop import Context, Loop, connect
from airfleet_provider.agent_loops.server import Handlers
from airfleet_provider.contract import notification_policy
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.notifications import failures, notifier, outage, watchdog
from airfleet_provider.notifications.failures import FailureWatch
from airfleet_provider.notifications.notifier import Notifier
from airfleet_provider.notifications.outage import OutageWatch
from airfleet_provider.notifications.requests import AlertRequests


def make_loops(config: Mapping[str, Any]) -> Iterator[Loop]:
    """Yield the loops that the configuration asks for. The notifier decides itself what a standby process may do."""
    policy = notification_policy.read(config.get(AgentsKey.NOTIFICATIONS, {}))
    # It logs the URL of each request, and the URLs of Slack and Teams are secrets.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sender = Notifier(policy)
    yield Loop("notifier", notifier.EVERY_S, sender.once, only_active=False, finish=sender.finish)
    if policy.receivers:
        watch = OutageWatch(policy, str(config[AgentsKey.HOST]))
        yield Loop("outage", outage.EVERY_S, partial(_watch_outages, watch), only_active=False)
    every_s = failures.EVERY_S if policy.failures else failures.IDLE_EVERY_S
    yield Loop("failures", every_s, partial(_watch_failures, FailureWatch(policy.failures)))
    if policy.watchdog_s:
        yield Loop("watchdog", watchdog.EVERY_S, partial(_check_watchdog, policy.watchdog_s))
    if policy.ping_url:
        yield Loop("ping", watchdog.PING_EVERY_S, partial(_ping, policy.ping_url))


def make_handlers(config: Mapping[str, Any]) -> Handlers:
    """Return what the agents' server takes for alerts."""
    policy = notification_policy.read(config.get(AgentsKey.NOTIFICATIONS, {}))
    return AlertRequests(policy, partial(connect, config[AgentsKey.DATABASE], "alerts")).handlers


def _watch_outages(watch: OutageWatch, context: Context) -> None:
    try:
        with context.read() as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        context.disconnect()
        watch.note(is_reached=False)
    else:
        watch.note(is_reached=True)


def _watch_failures(watch: FailureWatch, context: Context) -> None:
    with context.write() as connection:
        turn = watch.once(connection)
    watch.note(turn)


def _check_watchdog(silent_after_s: float, context: Context) -> None:
    with context.write() as connection:
        watchdog.check(connection, silent_after_s)


def _ping(url: str, context: Context) -> None:
    with context.read() as connection:
        is_alerting = watchdog.is_alerting(connection)
    if is_alerting:
        watchdog.ping(url)

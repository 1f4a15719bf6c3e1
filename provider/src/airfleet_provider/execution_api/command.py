"""`airflow airfleet execution-api`: serves the API that tasks report to, apart from the UI."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping
from typing import Any

from airfleet_provider.access.known_lists import open_lists
from airfleet_provider.api_server.outage_responses import OutageResponses, note
from airfleet_provider.audit import execution_api as audit
from airfleet_provider.breakers.api import BreakerRequests
from airfleet_provider.compat.calls import config, execution_api, execution_lists, metadata_db
from airfleet_provider.compat.patches import execution_api as patches
from airfleet_provider.compat.patches import one_version
from airfleet_provider.contract import breaker_rules, environment, fallbacks, service_limits, task_records
from airfleet_provider.execution_api.fast_path import FLUSH_S, RUNNING, Bypass, FastPath, Rows
from airfleet_provider.execution_api.record_reports import RecordReports, RecordStore
from airfleet_provider.execution_api.task_checks import ListChecks
from airfleet_provider.execution_api.usage_reports import UsageReports, UsageStore

log = logging.getLogger("airfleet")


def wrap(app: Any) -> Any:  # noqa: ANN401 - an ASGI application
    """Return Airflow's application behind the fast path, or without it if this Airflow is not supported.

    Raises:
        LookupError: Airflow's application has no execution API, so nothing could be refused to a task.
    """
    checks = ListChecks(open_lists())
    execution_lists.enforce(execution_lists.find_application(app), checks)
    patches.report_outages(note)
    patches.accept_early_tokens()
    one_version.build_older_versions_late()
    obstacle = execution_api.find_obstacle()
    models = None if obstacle else execution_api.Models()
    app = audit.wrap(OutageResponses(app), models.read_claims if models else None)
    counter = fallbacks.open_counter(fallbacks.EXECUTION_API, os.environ, flush_every_s=FLUSH_S)
    if obstacle or models is None:
        log.warning("Airflow's own code answers every call of a task: %s", obstacle)
        return Bypass(app, counter, obstacle or "")
    ask = open_rows(os.environ).ask
    return guard(FastPath(app, models, ask, counter=counter, allows=checks.allows), models)


def open_rows(environ: Mapping[str, str]) -> Rows:
    """Return what runs the statements of the fast path, in sessions whose plans the server keeps where it can."""
    sessions = environ.get(environment.CALLS_DATABASE)
    return Rows(lambda: metadata_db.connect_prepared(sessions=sessions))


def guard(app: Any, models: execution_api.Models) -> Any:  # noqa: ANN401 - an ASGI application
    """Return an application that takes reports of usage, records of tasks, and requests about breakers and limits."""
    rules = breaker_rules.parse(config.read_setting(breaker_rules.SECTION, breaker_rules.KEY))
    limits = service_limits.parse(config.read_setting(service_limits.SECTION, service_limits.KEY))

    async def read_token(token: str) -> str:
        subject, claims = await models.read_claims(token)
        if claims["scope"] not in RUNNING:
            raise PermissionError("the token is not that of a running task")
        return subject

    if rules or limits:
        by_name = {rule.name: rule for rule in rules}
        named = {one.name: one for one in limits}
        app = BreakerRequests(app, by_name, lambda: metadata_db.connect("airfleet breakers"), read_token, named)
    if config.read_setting(task_records.SECTION, task_records.FOLDER_KEY):
        app = RecordReports(app, RecordStore(lambda: metadata_db.connect("airfleet records")), read_token)
    return UsageReports(app, UsageStore(lambda: metadata_db.connect("airfleet usage")), read_token)


def run_command(arguments: argparse.Namespace) -> None:
    """Serve the API until a signal stops the process."""
    patches.serve(arguments, wrap)

"""The list of all patches of Airflow. Check each before airfleet supports a new version of Airflow."""

from __future__ import annotations

from airfleet_provider.compat.patches import (
    child_exits,
    cold_start,
    cookie_key,
    crash_reports,
    dag_processor,
    db_clean,
    execution_api,
    held_tasks,
    incremental_scheduling,
    local_workers,
    log_requests,
    outages,
    parsing,
    prefork,
    ready_filter,
    retry_rules,
    scheduler_loop,
    secret_lookups,
    task_guard,
    task_start,
)
from airfleet_provider.compat.patches.patch import Patch

# If two patches share a target, the patch that is applied first comes first.
PATCHES: tuple[Patch, ...] = (
    secret_lookups.PATCH,
    outages.SCHEDULER,
    scheduler_loop.SLEEP,
    incremental_scheduling.PATCH,
    ready_filter.PATCH,
    scheduler_loop.REST,
    held_tasks.PATCH,
    local_workers.PATCH,
    child_exits.PATCH,
    crash_reports.REPORTS,
    crash_reports.SIGNALS,
    cold_start.PATCH,
    prefork.ADAPTERS,
    prefork.LOG,
    task_start.LOOKUPS,
    task_start.LOADED_BAG,
    task_guard.PATCH,
    retry_rules.PATCH,
    parsing.LOOKUPS,
    parsing.SESSIONS,
    dag_processor.PATCH,
    execution_api.APPLICATION,
    execution_api.REPORTS,
    execution_api.TOKENS,
    outages.POOLS,
    log_requests.PATCH,
    cookie_key.PATCH,
    db_clean.PATCH,
)

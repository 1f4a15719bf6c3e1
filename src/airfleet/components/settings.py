"""The Airflow settings that airfleet changes, each with its reason."""

from __future__ import annotations

import configparser
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from airfleet.components import task_record_settings, timeouts, token_keys
from airfleet.components.model import Component, Credentials, File, Origin, Setting, Site
from airfleet.components.token_keys import TokenUse
from airfleet.errors import UsageError
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret, list_accepted
from airfleet_provider.contract import breaker_rules, jitter_rules, retry_rules, service_limits, task_limits

# The number of tasks that the scheduler sends to a worker for each of its slots.
IN_FLIGHT = 4


def list_settings(fleet: Fleet, site: Site, credentials: Credentials, *, keys: Path) -> tuple[Setting, ...]:
    """Return the settings of a platform on one machine. The settings under `airflow` in fleet.yaml come last and win.

    `keys` is the folder with the keys of tokens.
    """
    executor = _list_executor_settings(fleet, site)
    return (
        *list_platform_settings(fleet, site, credentials, keys=keys, executor=executor),
        *_list_own_database_settings(site),
        Setting("airfleet", "backups", str(site.backups), "a Fleet page shows how old the last backup is"),
        *list_user_settings(fleet),
    )


def _list_own_database_settings(site: Site) -> tuple[Setting, ...]:
    """Return what a server on another machine needs more: asyncpg understands other words of TLS than libpq."""
    if site.own_database is None:
        return ()
    dsn = site.own_database.dsn(driver="asyncpg").reveal()
    return (
        Setting(
            "database", "sql_alchemy_conn", site.own_database.dsn(driver="psycopg2").reveal(), "fleet.yaml: database"
        ),
        Setting("database", "sql_alchemy_conn_async", dsn, "fleet.yaml: database"),
        Setting(
            "database",
            "sql_alchemy_connect_args_async",
            "airfleet_provider.network.keepalive.ASYNC_CONNECT",
            "a request to a server without power fails after 10 s, and does not wait for ever",
        ),
    )


def list_user_settings(fleet: Fleet) -> tuple[Setting, ...]:
    """Return the settings under `airflow` in fleet.yaml."""
    return tuple(
        Setting(section, key, value, "fleet.yaml: airflow", Origin.USER)
        for section, values in fleet.airflow.items()
        for key, value in values.items()
    )


def list_platform_settings(
    fleet: Fleet, site: Site, credentials: Credentials, *, keys: Path, executor: Iterable[Setting]
) -> tuple[Setting, ...]:
    """Return the settings of every platform, on one machine or on a fleet, with those of its `executor`."""
    dsn = site.dsn("airflow", "airflow", credentials.airflow, driver="psycopg2").reveal()
    return (
        *_list_bundle_settings(fleet, site),
        *executor,
        *list_runtime_settings(fleet.queues),
        *list_failure_settings(fleet),
        *task_record_settings.list_settings(fleet, site.state / "records"),
        Setting("core", "load_examples", "False", "a platform shows its own Dags only"),
        Setting("core", "dags_folder", str(site.project / "dags"), "tools that do not know bundles read it"),
        Setting(
            "core",
            "fernet_key",
            ",".join(key.reveal() for key in list_accepted(credentials.fernet_key)),
            "encrypts connections and variables at rest; the keys after the first still decrypt older values",
        ),
        Setting("core", "execution_api_server_url", f"{site.execution_url}/execution/", "the execution-api process"),
        Setting(
            "core",
            "auth_manager",
            "airfleet_provider.access.manager.FabAuthManager",
            "FAB's manager: users with hashed passwords, and roles in the database; a token ends when its user's "
            "password changes",
        ),
        Setting("core", "hostname_callable", "airflow.utils.net.get_host_ip_address", "no DNS needed on one machine"),
        Setting("database", "sql_alchemy_conn", dsn, "the embedded PostgreSQL"),
        Setting("api", "host", site.listen, "no process listens on more addresses than it needs"),
        Setting("api", "port", str(site.api_port), "fleet.yaml: ports.api"),
        Setting("api", "worker_timeout", "10", "a stop waits 10 s for open requests, not 120 s"),
        Setting("api", "base_url", site.base_url, "links in the UI and in messages"),
        Setting("api", "secret_key", credentials.secret_key.reveal(), "signs sessions and log requests"),
        *token_keys.list_settings(credentials, keys),
        *_list_former_keys(credentials),
        Setting("logging", "base_log_folder", str(site.logs / "tasks"), "logs live in the state folder"),
        Setting(
            "logging",
            "dag_processor_child_process_log_directory",
            str(site.logs / "dag_processor"),
            "logs live in the state folder",
        ),
        *_list_index_settings(site),
        *timeouts.list_settings(),
        Setting("fab", "update_fab_perms", "False", "the metadata job has done it, so an api-server starts 1 s faster"),
        Setting(
            "fab",
            "enable_proxy_fix",
            "False",
            "it trusts the headers of every client; behind a balancer, the api-server itself trusts only the balancer",
        ),
        Setting("usage_data_collection", "enabled", "False", "a platform sends no usage data"),
    )


# Airflow's own configuration of logging, with the index as the place of logs that a host does not have.
INDEXED_LOGS = Setting(
    "logging",
    "logging_config_class",
    "airfleet_provider.log_search.task_logs.LOGGING_CONFIG",
    "Airflow's own configuration, and the UI reads a log from the index if its file is gone",
)


def _list_index_settings(site: Site) -> tuple[Setting, ...]:
    """Return what finds the index of logs, where a log agent writes one."""
    if not site.log_agent_port:
        return ()
    return (
        Setting("airfleet", "log_index", str(site.log_index), "`airfleet logs search` reads it"),
        INDEXED_LOGS,
    )


def list_runtime_settings(queues: Iterable[str]) -> tuple[Setting, ...]:
    """Return the settings that start tasks of these queues from warm processes."""
    warm = {"warm": {"classpath": "airfleet_provider.task_runtime.coordinator.WarmCoordinator", "kwargs": {}}}
    return (
        Setting(
            "sdk",
            "coordinators",
            json.dumps(warm),
            "a task starts as a fork of a process that has loaded its Dag file",
        ),
        Setting(
            "sdk",
            "queue_to_coordinator",
            json.dumps(dict.fromkeys(queues, "warm")),
            "tasks of other queues start in Airflow's own way",
        ),
    )


def list_failure_settings(fleet: Fleet) -> tuple[Setting, ...]:
    """Return the rules of breakers, retries, limits and jitter, for the processes that load Dags and run tasks."""
    breakers = breaker_rules.render(fleet.breakers) if fleet.breakers else ""
    retries = retry_rules.render(fleet.retries) if fleet.retries else ""
    limits = task_limits.render(fleet.task_limits) if fleet.task_limits else ""
    of_services = service_limits.render(fleet.limits) if fleet.limits else ""
    jitter = jitter_rules.render(fleet.jitter) if fleet.jitter else ""
    found = (
        Setting(breaker_rules.SECTION, breaker_rules.KEY, breakers, "fleet.yaml: breakers"),
        Setting(retry_rules.SECTION, retry_rules.KEY, retries, "fleet.yaml: retries"),
        Setting(task_limits.SECTION, task_limits.KEY, limits, "fleet.yaml: task_limits"),
        Setting(service_limits.SECTION, service_limits.KEY, of_services, "fleet.yaml: limits"),
        Setting(jitter_rules.SECTION, jitter_rules.KEY, jitter, "fleet.yaml: jitter"),
    )
    return tuple(one for one in found if one.value)


CELERY_EXECUTOR = Setting(
    "core",
    "executor",
    "airfleet_provider.executors.celery_executor.CeleryExecutor",
    "Celery's executor, with a scheduler that waits for events instead of polling once a second",
)


def list_celery_settings() -> tuple[Setting, ...]:
    """Return the Celery settings of the scheduler and the workers, on one machine or on a fleet."""
    return (
        CELERY_EXECUTOR,
        Setting(
            "celery",
            "celery_config_options",
            "airfleet_provider.executors.celery_config.CONFIG",
            "each process has its own login, workers run only messages that the scheduler signed and obey no other "
            "worker, and no process decodes an object that another one wrote",
        ),
        Setting("celery", "sync_parallelism", "1", "a pool of processes for each batch costs more time than it saves"),
        Setting(
            "celery", "task_track_started", "False", "nothing reads this state, and it doubles the writes of results"
        ),
        Setting(
            "celery",
            "result_backend_sqlalchemy_engine_options",
            json.dumps({"pool_pre_ping": True, "pool_size": 1, "isolation_level": "AUTOCOMMIT"}),
            "each process keeps one connection, while Celery opens one for each result; a result is one statement and "
            "needs no transaction: 1.5 CPU-ms in the worker instead of 2.9",
        ),
    )


def limit_parallelism(fleet: Fleet) -> Setting:
    """Return the setting for the number of tasks that run at once."""
    return Setting("core", "parallelism", str(fleet.parallelism), "fleet.yaml: parallelism")


def _list_executor_settings(fleet: Fleet, site: Site) -> tuple[Setting, ...]:
    if not site.has_broker:
        return (
            limit_parallelism(fleet),
            Setting(
                "core",
                "executor",
                "airfleet_provider.executors.local_executor.LocalExecutor",
                "one machine needs no broker; tasks are forked from warm processes",
            ),
        )
    return (
        Setting(
            "core",
            "parallelism",
            str(IN_FLIGHT * fleet.parallelism),
            "the worker runs `parallelism` tasks at once; the others wait in its queue, so that no slot is idle",
        ),
        *list_celery_settings(),
        Setting(
            "celery",
            "extra_celery_config",
            json.dumps(timeouts.CELERY),
            "a result that cannot be stored is stored later",
        ),
        *timeouts.list_broker_settings(),
    )


def _list_bundle_settings(fleet: Fleet, site: Site) -> tuple[Setting, ...]:
    if fleet.dags == "releases":
        place = fleet.releases.store
        known = {} if place == "database" else {"store": place}
        bundle = {
            "name": fleet.name,
            "classpath": "airfleet_provider.bundles.release_bundle.ReleaseBundle",
            "kwargs": known,
        }
        why = "Dags come from releases"
    else:
        kwargs = {"path": str(site.project)}
        bundle = {
            "name": fleet.name,
            "classpath": "airfleet_provider.bundles.folder_bundle.FolderBundle",
            "kwargs": kwargs,
        }
        why = "Dags come from the project's folder"
    return (
        Setting(
            "dag_processor",
            "dag_bundle_storage_path",
            str(site.state / "bundles"),
            "the default is deleted at every boot",
        ),
        Setting("dag_processor", "dag_bundle_config_list", json.dumps([bundle]), why),
        Setting(
            "dag_processor",
            "bundle_refresh_check_interval",
            str(2**31 - 1),
            "the releaser parses and publishes the Dags; the Dag processor runs callbacks only",
        ),
        Setting(
            "core",
            "min_serialized_dag_update_interval",
            "0",
            "with the default, the scheduler would use the old structure with new code for 30 s",
        ),
        Setting(
            "dag_processor",
            "stale_bundle_cleanup_interval",
            "0",
            "Airflow's clean-up does not know which releases unfinished runs still need",
        ),
    )


def describe(fleet: Fleet, site: Site, credentials: Credentials) -> Component:
    """Describe Airflow's configuration: a component with one file and no process."""
    home = site.airflow_home
    keys = (
        File(home / token_keys.LINKS, token_keys.render_links(credentials)),
        *(File(home / use.public, token_keys.render_keys(credentials, use)) for use in TokenUse),
        *(File(home / use.private, token_keys.render_private(credentials.jwt_key, use)) for use in TokenUse),
    )
    config = File(home / "airflow.cfg", Secret(render(list_settings(fleet, site, credentials, keys=home))))
    return Component(name="airflow", processes=(), files=(config, *keys))


def _list_former_keys(credentials: Credentials) -> tuple[Setting, ...]:
    former = [key.reveal() for key in list_accepted(credentials.secret_key)[1:]]
    why = "requests for releases that a former key signed are still valid"
    return (Setting("airfleet", "other_secret_keys", json.dumps(former), why),) if former else ()


def render(settings: Iterable[Setting]) -> str:
    """Return the text of an airflow.cfg. A later setting wins; the case of names does not matter.

    Airflow reads back every value as it was given, without blanks around its lines.

    Raises:
        UsageError: Airflow could not read a value back.
    """
    values: dict[tuple[str, str], str] = {}
    for setting in settings:
        values[setting.section.lower(), setting.key.lower()] = setting.value.replace("\r\n", "\n")
    writer = configparser.RawConfigParser()
    for (section, key), value in values.items():
        if not writer.has_section(section):
            writer.add_section(section)
        # Airflow's parser reads %% as %.
        writer.set(section, key, value.replace("%", "%%"))
    text = io.StringIO()
    text.write("# Written by airfleet at every start; say it in fleet.yaml under `airflow:` instead.\n\n")
    writer.write(text)
    _check_rendered(text.getvalue(), values)
    return text.getvalue()


def _check_rendered(text: str, values: Mapping[tuple[str, str], str]) -> None:
    reader = configparser.ConfigParser()
    reader.read_string(text)
    for (section, key), value in values.items():
        # Python ends a line at a lone carriage return when it reads a file.
        if "\r" in value or _strip_lines(reader[section][key]) != _strip_lines(value):
            hint = "no line of it may begin with # or ; or hold a carriage return"
            raise UsageError(
                "Airflow could not read this value", where=f"fleet.yaml: airflow.{section}.{key}", hint=hint
            )


def _strip_lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]

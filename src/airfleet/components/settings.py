"""Every Airflow setting that airfleet gives another value than Airflow does, each with its reason."""

from __future__ import annotations

import base64
import configparser
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from airfleet.components import timeouts
from airfleet.components.model import Component, Credentials, File, Origin, Setting, Site
from airfleet.errors import UsageError
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret, by_login, list_accepted

# What Airflow calls a key that has no name.
UNNAMED_KEY = "not-used"
# Tasks sent to a worker for each of its slots.
IN_FLIGHT = 4


def list_settings(fleet: Fleet, site: Site, credentials: Credentials, *, keys: Path) -> tuple[Setting, ...]:
    """All settings of one platform on one machine. What fleet.yaml says under `airflow` comes last and wins.

    `keys` is the file with the keys that tokens may be signed with.
    """
    executor = _list_executor_settings(fleet, site)
    return (
        *list_platform_settings(fleet, site, credentials, keys=keys, executor=executor),
        *list_user_settings(fleet),
    )


def list_user_settings(fleet: Fleet) -> tuple[Setting, ...]:
    """What fleet.yaml says under `airflow`."""
    return tuple(
        Setting(section, key, value, "fleet.yaml: airflow", Origin.USER)
        for section, values in fleet.airflow.items()
        for key, value in values.items()
    )


def list_platform_settings(
    fleet: Fleet, site: Site, credentials: Credentials, *, keys: Path, executor: Iterable[Setting]
) -> tuple[Setting, ...]:
    """What every platform has, on one machine or on many, with the settings of its `executor`."""
    dsn = site.dsn("airflow", "airflow", credentials.airflow, driver="psycopg2").reveal()
    return (
        *_list_bundle_settings(fleet, site),
        *executor,
        *list_runtime_settings(fleet.queues),
        Setting("core", "load_examples", "False", "a platform shows its own Dags only"),
        Setting("core", "dags_folder", str(site.project / "dags"), "read by tools that do not know bundles"),
        Setting(
            "core",
            "fernet_key",
            ",".join(key.reveal() for key in list_accepted(credentials.fernet_key)),
            "encrypts connections and variables at rest; what former keys encrypted is still read",
        ),
        Setting("core", "execution_api_server_url", f"{site.execution_url}/execution/", "the execution-api process"),
        Setting(
            "core",
            "auth_manager",
            "airfleet_provider.access.manager.FabAuthManager",
            "FAB's: users with hashed passwords and roles in the database; tokens end with the password they were made "
            "for",
        ),
        Setting("core", "hostname_callable", "airflow.utils.net.get_host_ip_address", "no DNS needed on one machine"),
        Setting("database", "sql_alchemy_conn", dsn, "the embedded PostgreSQL"),
        Setting("api", "host", site.listen, "nothing listens wider than it must"),
        Setting("api", "port", str(site.api_port), "fleet.yaml: ports.api"),
        Setting("api", "worker_timeout", "10", "a stop waits so long for open requests, not 120 s"),
        Setting("api", "base_url", site.base_url, "links in the UI and in messages"),
        Setting("api", "secret_key", credentials.secret_key.reveal(), "signs sessions and log requests"),
        Setting(
            "api_auth", "jwt_secret", credentials.jwt_secret.reveal(), "the default differs from process to process"
        ),
        Setting("api_auth", "jwt_kid", name_key(credentials.jwt_secret), "tells which key a token was signed with"),
        Setting("api_auth", "trusted_jwks_url", str(keys), "tokens of a former key are valid while it is exchanged"),
        *_list_former_keys(credentials),
        Setting("logging", "base_log_folder", str(site.logs / "tasks"), "logs live in the state folder"),
        Setting(
            "logging",
            "dag_processor_child_process_log_directory",
            str(site.logs / "dag_processor"),
            "logs live in the state folder",
        ),
        *timeouts.list_settings(),
        Setting("fab", "update_fab_perms", "False", "the metadata job did it; every api-server start is 1 s shorter"),
        Setting("fab", "enable_proxy_fix", "False", "nothing stands in front of the api-server on one machine"),
        Setting("usage_data_collection", "enabled", "False", "a platform calls nobody unasked"),
    )


def list_runtime_settings(queues: Iterable[str]) -> tuple[Setting, ...]:
    """How tasks of these queues start."""
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


CELERY_EXECUTOR = Setting(
    "core",
    "executor",
    "airfleet_provider.executors.celery_executor.CeleryExecutor",
    "Celery's, with a scheduler that waits for news in place of looking once a second",
)


def list_celery_settings() -> tuple[Setting, ...]:
    """How the scheduler and workers deal with Celery, on one machine or on many."""
    return (
        CELERY_EXECUTOR,
        Setting(
            "celery",
            "celery_config_options",
            "airfleet_provider.executors.celery_config.CONFIG",
            "each process has its own login, workers run what the scheduler signed and take no orders from each other, "
            "and no side decodes an object that another one wrote",
        ),
        Setting("celery", "sync_parallelism", "1", "a pool of processes for each batch costs more than it brings"),
        Setting("celery", "task_track_started", "False", "nobody reads it, and it doubles the writes of results"),
        Setting(
            "celery",
            "result_backend_sqlalchemy_engine_options",
            json.dumps({"pool_pre_ping": True, "pool_size": 1, "isolation_level": "AUTOCOMMIT"}),
            "one connection for each process of the pool, where Celery makes one for each result; a result is one "
            "statement, so it needs no transaction: 1.5 CPU-ms in the worker against 2.9",
        ),
    )


def limit_parallelism(fleet: Fleet) -> Setting:
    """How many tasks a scheduler lets run at a time."""
    return Setting("core", "parallelism", str(fleet.parallelism), "fleet.yaml: parallelism")


def _list_executor_settings(fleet: Fleet, site: Site) -> tuple[Setting, ...]:
    if site.broker is None:
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
            "the worker runs `parallelism` tasks at once; the others wait at its door, so that no slot waits for them",
        ),
        *list_celery_settings(),
        Setting(
            "celery",
            "extra_celery_config",
            json.dumps(timeouts.CELERY),
            "results wait for a database that is away",
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
            "the default is wiped at every boot",
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
            "the scheduler would pair new code with the structure of the last one for 30 s",
        ),
        Setting(
            "dag_processor",
            "stale_bundle_cleanup_interval",
            "0",
            "Airflow's clean-up does not know which releases unfinished runs still need",
        ),
    )


def describe(fleet: Fleet, site: Site, credentials: Credentials) -> Component:
    """Airflow's configuration: one file, no process."""
    keys = File(site.airflow_home / "keys.json", render_keys(credentials.jwt_secret))
    config = File(
        site.airflow_home / "airflow.cfg", Secret(render(list_settings(fleet, site, credentials, keys=keys.path)))
    )
    return Component(name="airflow", processes=(), files=(config, keys))


def name_key(key: Secret) -> str:
    """The name of a key in the tokens that it signs; it tells nothing about the key."""
    return hashlib.sha256(f"airfleet key {key.reveal()}".encode()).hexdigest()[:16]


def render_keys(key: Secret) -> Secret:
    """The keys that tokens may be signed with, as a JSON Web Key Set; tokens of before name none of them."""
    accepted = sorted(((name_key(one), one) for one in list_accepted(key)), key=lambda pair: pair[0])
    oldest = next(iter(by_login("", key).values()))
    keys = [
        {
            "kty": "oct",
            "alg": "HS512",
            "kid": name,
            "k": base64.urlsafe_b64encode(one.reveal().encode()).decode().rstrip("="),
        }
        for name, one in (*accepted, (UNNAMED_KEY, oldest))
    ]
    return Secret(json.dumps({"keys": keys}, indent=1) + "\n")


def _list_former_keys(credentials: Credentials) -> tuple[Setting, ...]:
    former = [key.reveal() for key in list_accepted(credentials.secret_key)[1:]]
    why = "requests for releases that were signed with these are still answered"
    return (Setting("airfleet", "other_secret_keys", json.dumps(former), why),) if former else ()


def render(settings: Iterable[Setting]) -> str:
    """The text of an airflow.cfg, in which a later setting wins, whatever its case.

    Every value is read back as it was given, but for blanks around its lines; raises UsageError for one that cannot be.
    """
    values: dict[tuple[str, str], str] = {}
    for setting in settings:
        values[setting.section.lower(), setting.key.lower()] = setting.value.replace("\r\n", "\n")
    writer = configparser.RawConfigParser()
    for (section, key), value in values.items():
        if not writer.has_section(section):
            writer.add_section(section)
        # Airflow's parser reads a doubled % as one.
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
        # A lone carriage return ends a line when a file is read.
        if "\r" in value or _strip_lines(reader[section][key]) != _strip_lines(value):
            hint = "no line of it may begin with # or ; or hold a carriage return"
            raise UsageError(
                "Airflow could not read this value", where=f"fleet.yaml: airflow.{section}.{key}", hint=hint
            )


def _strip_lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]

"""Worker hosts: Celery workers with their pools' limits, a server of task logs, no login at the metadata database."""

from __future__ import annotations

from pathlib import Path

from airfleet.components import celery, settings, slots, task_record_settings
from airfleet.components.health import NoteCheck
from airfleet.components.host_model import (
    ETC,
    LIB,
    LOG,
    PROXY,
    WORKER_LOGS,
    WORKER_USER,
    Folder,
    HostFile,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
    private,
)
from airfleet.components.hosts import airflow, database_urls, logs
from airfleet.components.model import Origin, Setting
from airfleet.components.postgresql import result_database
from airfleet.components.rabbitmq import permissions
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.spec.topology import WorkerPool
from airfleet_provider.contract import environment

HOME = "worker"
FOLDER = ETC / HOME
STATE = LIB / HOME
TASK_LOGS = LOG / "tasks"
# Only root writes the marks of drained pools. The workers write notes of their state.
MARKS, NOTES = LIB / "drained", STATE / "workers"
# Tasks are the users' programs: they write to mounted shares that others read, use GPUs, and trace their children.
TASKS = {
    "ProtectSystem": "full",
    "PrivateDevices": "no",
    "SystemCallFilter": "@system-service @debug",
    "UMask": "0022",
}
# A worker makes a cgroup for each task, below the one of its unit and nowhere else.
DELEGATED = {"Delegate": "cpu io memory pids", "ProtectControlGroups": "no"}
# The settings that a task needs. None of them opens the metadata database or holds a key that signs.
SECTIONS = frozenset({"sdk", "workers", "usage_data_collection", "logging"})
KEYS = frozenset(
    {
        ("core", "load_examples"),
        ("airfleet", "breakers"),
        ("airfleet", "retries"),
        ("airfleet", "task_limits"),
        ("airfleet", "limits"),
        ("api", "secret_key"),
        ("api", "base_url"),
        ("dag_processor", "dag_bundle_storage_path"),
        ("dag_processor", "dag_bundle_config_list"),
        ("dag_processor", "stale_bundle_cleanup_interval"),
    }
)
PRIVATE = frozenset({("database", "sql_alchemy_conn"), ("database", "sql_alchemy_conn_async")})


def describe(place: Place) -> Part:
    """Describe a worker host: one service for each pool, so that no pool uses the resources of another."""
    config = private(airflow.config_path(place, HOME), settings.render(list_settings(place)), WORKER_USER)
    user = airflow.user_environment(place, HOME, WORKER_USER)
    pools = [place.fleet.pool(name) for name in place.host.pools]
    links = {pool.name: _link(place, pool) for pool in pools}
    what = "shows the logs of this host's tasks"
    # It imports Airflow, as the workers do: at the same time, and not after them.
    served = airflow.serve_logs(place, HOME, WORKER_USER, WORKER_LOGS, config, what, stage=Stage.WORK)
    return Part(
        name="workers",
        users=(WORKER_USER,),
        folders=(
            Folder(FOLDER),
            Folder(MARKS),
            Folder(STATE, WORKER_USER, WORKER_USER, 0o750),
            Folder(TASK_LOGS, WORKER_USER, WORKER_USER, 0o750),
        ),
        files=(config, user, *links.values()),
        services=(
            served,
            *(_worker(place, pool, (config, user, links[pool.name])) for pool in pools),
        ),
        ports=(
            OpenPort(
                WORKER_LOGS, place.addresses("web", "scheduler"), "logs of running tasks; shows that the host is up"
            ),
        ),
    )


def _list_queues(pool: WorkerPool) -> str:
    return f"the queue{'s' * (len(pool.queues) > 1)} {', '.join(pool.queues)}"


def _link(place: Place, pool: WorkerPool) -> HostFile:
    """Return the Celery file of one pool's workers."""
    login = permissions.consumer(pool.name, place.credentials.consumers[pool.name], pool.queues)
    text = celery.render_worker(
        rabbitmq.url(place, login.name, login.password),
        database_urls.results_dsn(place, result_database.WRITER),
        pool.queues,
        rabbitmq.QUEUE_TYPE,
        place.credentials.signing,
        rabbitmq.find_authorities(place),
    )
    return private(FOLDER / f"celery-{pool.name}.json", text.reveal(), WORKER_USER)


def _worker(place: Place, pool: WorkerPool, files: tuple[HostFile, ...]) -> Service:
    url = slots.find_url(f"http://127.0.0.1:{PROXY}", pool.name, place.host.name)
    return Service(
        name=f"worker-{pool.name}",
        what=f"worker of the pool {pool.name}, which serves {_list_queues(pool)}",
        stage=Stage.WORK,
        command=(
            *(str(place.runtime / "bin" / "airflow"), "celery", "worker", "--skip-serve-logs"),
            *("--queues", ",".join(pool.queues), "--concurrency", str(pool.concurrency)),
        ),
        user=WORKER_USER,
        files=files,
        env=airflow.environment(
            place,
            HOME,
            **{
                environment.POOL: pool.name,
                environment.RELEASES: f"http://127.0.0.1:{PROXY}",
                environment.CELERY: str(files[-1].path),
                environment.DRAINED: str(MARKS / pool.name),
                environment.WORKERS: str(NOTES),
                (environment.SLOTS if pool.scale else environment.DRAINS): url,
                **({environment.DELEGATED: "1"} if place.fleet.task_limits else {}),
            },
        ),
        env_files=tuple(file.path for file in files if file.path.suffix == ".env"),
        # systemd signals only Celery's main process, which waits for running tasks and does not disturb them.
        kill_mode="mixed",
        stop_s=pool.drain_s,
        limits=pool.limits,
        drains=True,
        # The worker writes it once it serves its queues.
        health=NoteCheck(find_note(pool.name)),
        wait_s=180,
        sandbox={**TASKS, **DELEGATED} if place.fleet.task_limits else TASKS,
    )


def find_note(pool: str) -> Path:
    """Return the file in which the worker of a pool reports its state."""
    return NOTES / f"{pool}.json"


def list_settings(place: Place) -> tuple[Setting, ...]:
    """Return the settings of a worker host. None of them opens the metadata database."""
    whole = airflow.list_settings(place)
    kept = (
        setting
        for setting in whole
        if (setting.section in SECTIONS or (setting.section, setting.key) in KEYS)
        # A worker host cannot search the log store.
        and setting not in logs.list_settings(place)
    )
    said = {(setting.section, setting.key): setting for setting in whole if setting.origin is Origin.USER}
    return (
        *kept,
        Setting(
            "core",
            "execution_api_server_url",
            f"http://127.0.0.1:{PROXY}/execution/",
            "the proxy of this host, which leads to a healthy web host",
        ),
        Setting("logging", "base_log_folder", str(TASK_LOGS), "systemd's clean-up deletes old logs here"),
        Setting("logging", "worker_log_server_port", str(WORKER_LOGS), "the port that the firewall opens"),
        Setting(
            "dag_processor", "dag_bundle_storage_path", str(STATE / "bundles"), "the default is deleted at every boot"
        ),
        *task_record_settings.list_settings(place.fleet, STATE / "records"),
        *airflow.list_celery_settings(place),
        *(setting for key, setting in said.items() if key not in PRIVATE),
    )

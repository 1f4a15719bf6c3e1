"""Airflow's processes on web and scheduler hosts. They are the components of one machine, as services of systemd."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import assert_never

from airfleet.components import (
    api_server,
    archiver,
    celery,
    dag_processor,
    execution_api,
    releaser,
    scheduler,
    settings,
    timeouts,
    triggerer,
)
from airfleet.components.health import (
    LOOPBACK,
    CandidateCheck,
    ConsumerCheck,
    HeartbeatCheck,
    HttpCheck,
    LoginCheck,
    ReadyCheck,
    TcpCheck,
)
from airfleet.components.host_model import (
    API,
    AUTHORITIES,
    ETC,
    EXECUTION,
    LIB,
    LOG,
    SERVER_USER,
    TRIGGERER_LOGS,
    Folder,
    HostFile,
    HostHealth,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
    private,
)
from airfleet.components.hosts import database_urls, haproxy, log_servers, logs, token_files, web_ports
from airfleet.components.model import Component, Process, Setting, reveal
from airfleet.components.postgresql import result_database
from airfleet.components.rabbitmq import permissions
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.spec.topology import Limits, Role
from airfleet_provider.contract import environment as variables

HOME = database_urls.HOME
FOLDER = ETC / HOME
STATE = LIB / HOME
# The servers that a web host may fetch logs from. It reads the file at each request, so a new host restarts nothing.
LOG_SERVERS = FOLDER / "log_servers.json"
LOG_SERVER = "airflow.utils.serve_logs.log_server:get_app"
AWAIT_DATABASE = "airfleet_provider.liveness.wait_for_database"
# What may come later than tasks, and its part of the processors where both want them; 100 is everything else's.
LATER = frozenset({"releaser", "dag-processor", archiver.NAME})
CPU_WEIGHT = 25
# These processes hold a lock or LISTEN as long as they run. PgBouncer's pool of transactions cannot do that.
NEED_SESSION = frozenset({"scheduler", "releaser", "metadata", archiver.NAME})
# These processes write files of logs below their own folder, which the log agent reads as a member of their group.
WRITE_LOGS = frozenset({"dag-processor", "triggerer"})
LOGGED = {"UMask": "0027"}


def describe_web(place: Place) -> Part:
    """Describe a web host: the UI with the REST API, and as a process apart the API that tasks report to."""
    site = place.site(HOME)
    balancers = place.addresses("balancer")
    here = tuple(dict.fromkeys((LOOPBACK, place.host.address, place.own_address)))
    own, hidden = web_ports.find_own(place, API), web_ports.find_own(place, EXECUTION)
    return _describe(
        place,
        "web",
        {
            Stage.API: (
                api_server.describe(
                    replace(site, listen=own),
                    trusted=tuple(one for one in balancers if one not in here),
                    # A request of a balancer comes from HAProxy of this host when TLS has ended.
                    proxy=api_server.LocalProxyUser(haproxy.USER, here) if balancers else None,
                    options=("--host", own) if own != site.listen else (),
                    directory=place.objects.directory,
                    folder=FOLDER,
                ),
                execution_api.describe(
                    replace(site, listen=hidden),
                    runners=(),
                    options=("--host", hidden) if hidden != site.listen else (),
                    calls_database="" if site.own_database else database_urls.CALLS,
                ),
            )
        },
        web_ports.list_clear(place),
    )


def describe_scheduler(place: Place) -> Part:
    """Describe a scheduler host: the scheduler, the releaser, the Dag processor, the triggerer and the archiver."""
    archive = place.fleet.archive
    store = archive.store if archive.every_hours else None
    queue_names = tuple(dict.fromkeys((*place.fleet.queues, _default_queue(place))))
    link = private(
        FOLDER / "celery.json",
        celery.render_scheduler(
            rabbitmq.url(place, permissions.PUBLISHER, place.credentials.publisher),
            database_urls.results_dsn(place, result_database.READER),
            queue_names,
            rabbitmq.QUEUE_TYPE,
            place.credentials.signing,
            rabbitmq.find_authorities(place),
        ).reveal(),
        SERVER_USER,
    )
    part = _describe(
        place,
        "scheduler",
        {
            Stage.CONTROL: (
                scheduler.describe_on_host(place.fleet, place.host.name),
                dag_processor.describe(),
                triggerer.describe(),
                releaser.describe(),
                *((archiver.describe(archive, store),) if store else ()),
            )
        },
        (OpenPort(TRIGGERER_LOGS, place.addresses("web"), "logs of deferred tasks"),),
        links={scheduler.NAME: link},
    )
    config = next(file for file in part.files if file.path.name == "airflow.cfg")
    served = serve_logs(place, HOME, SERVER_USER, TRIGGERER_LOGS, config, "shows the logs of deferred tasks")
    services = (_let_archive(one, store) if one.name == archiver.NAME and store else one for one in part.services)
    return replace(part, services=(*map(_give_way, services), served))


def _give_way(service: Service) -> Service:
    """Let what parses and archives have less of a host's processors than what starts tasks, while both want them.

    After a switch-over of the database, releaser and Dag processor start again, and their imports take seconds.
    """
    return replace(service, limits=Limits(cpu_weight=CPU_WEIGHT)) if service.name in LATER else service


def _let_archive(service: Service, store: str) -> Service:
    """Let the archiver write to its folder, if it is one of the host."""
    return replace(service, writes=(Path(store),)) if store.startswith("/") else service


def serve_logs(
    place: Place, home: str, user: str, port: int, config: HostFile, what: str, *, stage: Stage = Stage.EDGE
) -> Service:
    """Describe the server of a host's task logs for the web hosts. They reach it at `port`.

    Airflow's own command for it listens on every address; this service listens on one.
    """
    address, own = log_servers.find_listener(place, port)
    return Service(
        name=f"{'triggerer' if home == HOME else home}-logs",
        what=f"{what} to the web hosts",
        stage=stage,
        command=(
            *(str(place.runtime / "bin" / "python"), "-m", "uvicorn", "--factory", LOG_SERVER),
            *("--host", address, "--port", str(own), "--no-access-log"),
        ),
        user=user,
        files=(config,),
        env=environment(place, home),
        health=TcpCheck(own, LOOPBACK if own != port else place.own_address),
    )


def list_settings(place: Place) -> tuple[Setting, ...]:
    """Return the settings of a host that has access to the metadata database.

    A later setting wins, and the settings under `airflow` in fleet.yaml come last.
    """
    fleet, site, secrets = place.fleet, place.site(HOME), place.credentials
    executor = (settings.limit_parallelism(fleet), settings.CELERY_EXECUTOR)
    return (
        *settings.list_platform_settings(fleet, site, secrets.platform, keys=FOLDER, executor=executor),
        *list_celery_settings(place),
        Setting(
            "database",
            "sql_alchemy_conn_async",
            database_urls.session_dsn(place, "asyncpg"),
            "asyncpg prepares statements, which a pool of transactions cannot serve",
        ),
        Setting(
            "database",
            "sql_alchemy_connect_args_async",
            "airfleet_provider.network.keepalive.ASYNC_CONNECT",
            "a request to a database host without power fails after 10 s, and does not wait for ever",
        ),
        Setting("logging", "base_log_folder", str(LOG / HOME), "systemd's clean-up deletes old logs here"),
        Setting(
            "logging",
            "dag_processor_child_process_log_directory",
            str(LOG / HOME / "dag_processor"),
            "systemd's clean-up deletes old logs here",
        ),
        Setting(
            "airfleet",
            "log_servers",
            str(LOG_SERVERS),
            "a task names the host of its log, so requests go only to hosts of the fleet",
        ),
        *logs.list_settings(place),
        *_list_edge_settings(place),
        *settings.list_user_settings(fleet),
    )


def _list_edge_settings(place: Place) -> Iterable[Setting]:
    """Yield the settings of web hosts that only a fleet with a balancer has."""
    if place.fleet.tls and place.fleet.with_role("balancer"):
        yield Setting("fab", "cookie_secure", "True", "browsers reach the UI by HTTPS only")


def list_celery_settings(place: Place) -> tuple[Setting, ...]:
    """Return the Celery settings of every process that handles tasks. They hold no login and no key.

    Each process that needs a login or a key reads it from its own file (`components/celery.py`).
    """
    return (
        *settings.list_celery_settings(),
        Setting(
            "core", "hostname_callable", "airfleet_provider.network.address.find_address", "the address in fleet.yaml"
        ),
        Setting(
            "celery",
            "extra_celery_config",
            json.dumps({"worker_soft_shutdown_timeout": 0, **timeouts.CELERY}),
            "a result that cannot be stored is stored later",
        ),
        *timeouts.list_broker_settings(),
        Setting("operators", "default_queue", _default_queue(place), "the queue of tasks that name none"),
        Setting("airfleet", "routing", _render_routing(place), "fleet.yaml: pools and routing"),
    )


def _render_routing(place: Place) -> str:
    rules = [asdict(route) for route in place.fleet.routing]
    return json.dumps({"pools": {pool.name: pool.queues[0] for pool in place.fleet.pools}, "rules": rules})


def _default_queue(place: Place) -> str:
    return place.fleet.airflow.get("operators", {}).get("default_queue", "default")


def config_path(place: Place, home: str) -> Path:
    """Where airflow.cfg of the installed packages is: other packages have another one, as it names their classes.

    A process that was started from former packages, and what it starts, finds what those packages can read.
    """
    return ETC / home / place.runtime.name / "airflow.cfg"


def environment(place: Place, home: str, **more: str) -> dict[str, str]:
    """Return the environment of every Airflow process of a host, without secrets."""
    return {
        "AIRFLOW_HOME": str(LIB / home),
        "AIRFLOW_CONFIG": str(config_path(place, home)),
        variables.ADDRESS: place.host.address,
        variables.STATE: str(LIB / home),
        "HOME": str(LIB / home),
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{place.runtime}/bin:/usr/local/bin:/usr/bin:/bin",
        **more,
    }


def user_environment(place: Place, home: str, group: str) -> HostFile:
    """Return the file with the variables under `env` in fleet.yaml. They may be secret."""
    lines = [f"{key}={quote(reveal(value))}\n" for key, value in place.objects.environment.items()]
    return private(ETC / home / "user.env", "".join(lines), group)


def quote(value: str) -> str:
    """Quote a value for an environment file of systemd."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
    return f'"{escaped}"'


def _describe(
    place: Place,
    name: Role,
    components: dict[Stage, tuple[Component, ...]],
    ports: tuple[OpenPort, ...],
    links: Mapping[str, HostFile] = MappingProxyType({}),
) -> Part:
    """Describe Airflow's processes of one role. `links` maps a process that uses Celery to its Celery file."""
    config = private(config_path(place, HOME), settings.render(list_settings(place)), SERVER_USER)
    apis = " ".join(web_ports.find_url(place, host) for host in place.fleet.with_role("web"))
    trust = f"AIRFLOW__AIRFLEET__AUTHORITIES={AUTHORITIES}\n" if place.credentials.encryption.api.is_used else ""
    session = private(
        database_urls.SESSION,
        f"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN={quote(database_urls.direct_dsn(place))}\n"
        # A scheduler declares a silent task dead only while one of these APIs answers.
        f"AIRFLOW__AIRFLEET__EXECUTION_APIS={quote(apis)}\n{trust}",
        SERVER_USER,
    )
    user = user_environment(place, HOME, SERVER_USER)
    keys = token_files.list_files(place, name)
    asked = (HostFile(LOG_SERVERS, log_servers.render_list(place)),) if name == "web" else ()
    services = tuple(
        _serve(
            place,
            stage,
            process,
            (
                config,
                *token_files.list_read(place, keys, process.name),
                user,
                *((session,) if process.name in NEED_SESSION else ()),
                *_list_own_files(component),
            ),
            links.get(process.name),
        )
        for stage, group in components.items()
        for component in group
        for process in component.processes
    )
    own = tuple(file for group in components.values() for one in group for file in _list_own_files(one))
    needs_session = any(
        process.name in NEED_SESSION
        for group in components.values()
        for component in group
        for process in component.processes
    )
    return Part(
        name=name,
        users=(SERVER_USER, token_files.SIGNERS),
        folders=(
            Folder(FOLDER),
            Folder(STATE, SERVER_USER, SERVER_USER, 0o750),
            Folder(LOG / HOME, SERVER_USER, SERVER_USER, 0o750),
        ),
        files=(
            config,
            *keys,
            *asked,
            *((session,) if needs_session else ()),
            user,
            *links.values(),
            *own,
        ),
        services=services,
        ports=ports,
    )


def _list_own_files(component: Component) -> tuple[HostFile, ...]:
    """Return the files of a component as files of a host, which its services alone may read."""
    return tuple(private(one.path, reveal(one.content), SERVER_USER) for one in component.files)


def _serve(place: Place, stage: Stage, process: Process, files: tuple[HostFile, ...], link: HostFile | None) -> Service:
    (command,) = process.commands
    return Service(
        name=process.name,
        what=process.name,
        stage=stage,
        command=(
            *(str(place.runtime / "bin" / "python"), "-m", AWAIT_DATABASE),
            *(str(place.runtime / "bin" / "airflow"), *(reveal(word) for word in command[1:])),
        ),
        user=SERVER_USER,
        files=(*files, link) if link else files,
        env=environment(
            place,
            HOME,
            **{key: value for key, value in process.env.items() if isinstance(value, str)},
            **({variables.CELERY: str(link.path)} if link else {}),
            **token_files.list_variables(place, process.name),
        ),
        env_files=tuple(file.path for file in files if file.path.suffix == ".env"),
        stop_signal=process.stop_signal,
        stop_s=max(process.stop_timeout_s, 15),
        health=_host_health(process),
        wait_s=180,
        sandbox={
            **(LOGGED if process.name in WRITE_LOGS and place.fleet.with_role("logs") else {}),
            **token_files.confine(process.name),
        },
    )


def _host_health(process: Process) -> HostHealth | None:
    match process.health:
        case HttpCheck() | HeartbeatCheck() | CandidateCheck() | None as health:
            return health
        case TcpCheck() | LoginCheck() | ConsumerCheck() | ReadyCheck() as other:
            # These checks are for the stores and the image of one machine. Hosts have other stores and no image.
            raise TypeError(f"{process.name}: the fleet's runner cannot make the check {other}")
        case _ as never:
            assert_never(never)

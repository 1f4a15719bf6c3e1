"""The checks of `airfleet doctor` for a platform on this machine."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from airfleet.components import worker
from airfleet.errors import AirfleetError
from airfleet.peers import sources
from airfleet.runners.local import environment, launch, ports, rabbitmq
from airfleet.spec import load
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import resolve
from airfleet.workspace import airflow_version, python_packages
from airfleet.workspace.diagnosis import LEAST_FREE_BYTES, Diagnosis, Level
from airfleet.workspace.project import list_references
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract import wording

# The series of packages with which this minor version of Airflow starts. It does not start with later series, because
# of celery.backends.database and models that Airflow removed.
REQUIRED = {"apache-airflow-core": "3.3", "celery": "5.6", "sqlalchemy": "2.0"}
LEAST_MEMORY_BYTES = 2 << 30
OLDEST_SANE_CLOCK = 1_767_225_600  # 2026-01-01: no release of airfleet is older


def examine(project: Path, folder: StateFolder) -> list[Diagnosis]:
    """Make all checks, and return their results in order. Nothing is changed or started."""
    free_root = next(parent for parent in (folder.root, *folder.root.parents) if parent.exists())
    return [
        judge_python(sys.version_info[:2]),
        *(_examine_packages(project) if environment.is_beside() else [judge_environment()]),
        _attempt("fleet.yaml", lambda: f"fleet {load.read(project, cpus=os.cpu_count() or 1).name!r}"),
        *_examine_own_database(project, folder),
        *_examine_broker(project),
        *_examine_secrets(project, folder),
        *_examine_port(project, folder),
        judge_folder(free_root, os.access(free_root, os.W_OK)),
        _attempt("state folder", lambda: _describe_state(project, folder)),
        judge_space(free_root, shutil.disk_usage(free_root).free),
        judge_memory(psutil.virtual_memory().available),
        judge_clock(time.time()),
        judge_user(os.geteuid()),
    ]


def _examine_packages(project: Path) -> Iterator[Diagnosis]:
    yield from judge_versions(_installed)
    named_fleet = None
    with suppress(AirfleetError):  # what is wrong with fleet.yaml is a finding of its own
        named_fleet = load.read(project, cpus=os.cpu_count() or 1)
    named = named_fleet.requirements if named_fleet else None
    yield from judge_requirements(project / (named or "requirements.txt"), _installed)
    if named_fleet and named_fleet.database:
        return
    yield _attempt("PostgreSQL", lambda: f"embedded, {launch.postgres_version(launch.find_postgres())}")


def _examine_own_database(project: Path, folder: StateFolder) -> Iterator[Diagnosis]:
    """Make the checks of a PostgreSQL that somebody else runs, where Airflow's environment has psycopg."""
    try:
        fleet = load.read(project, cpus=os.cpu_count() or 1)
    except AirfleetError:
        return
    if fleet.database is None or not environment.is_beside():
        return
    from airfleet.peers import database as own_database  # noqa: PLC0415 - psycopg comes with Airflow's environment
    from airfleet.peers.connection import SUBJECT  # noqa: PLC0415

    try:
        url = resolve(fleet.database, environ=os.environ, project=project, where=own_database.WHERE)
        database = own_database.read(url)
    except AirfleetError as error:
        yield Diagnosis("error", SUBJECT, error.what, error.hint)
        return
    instance = folder.peek_instance() or ""
    yield from own_database.examine(database, instance, connections=launch.count_connections(fleet))


def _examine_broker(project: Path) -> Iterator[Diagnosis]:
    with suppress(AirfleetError):  # what is wrong with fleet.yaml is a finding of its own
        fleet = load.read(project, cpus=1)
        if fleet.executor == "celery" and fleet.broker:
            yield from _examine_outside_broker(fleet, project)
        elif fleet.executor == "celery":
            yield _attempt("RabbitMQ", lambda: str(rabbitmq.find_programs().server))


def _examine_outside_broker(fleet: Fleet, project: Path) -> Iterator[Diagnosis]:
    from airfleet.peers import broker  # noqa: PLC0415 - other platforms need no check of a broker

    try:
        own = sources.read_broker(fleet, project)
    except AirfleetError as error:
        yield Diagnosis("error", broker.SUBJECT, error.what, error.hint)
    else:
        yield from broker.examine(own, worker.list_queues(fleet)) if own else ()


def _examine_secrets(project: Path, folder: StateFolder) -> Iterator[Diagnosis]:
    """Read the secrets that the next start will fetch. A command is not run: it may ask somebody, or cost something."""
    if folder.root.is_dir() and folder.is_held():
        return
    try:
        references = list(list_references(load.read(project, cpus=1)))
    except AirfleetError:
        return
    wrong, commands = False, 0
    for place, reference in references:
        if reference.command is not None:
            commands += 1
            continue
        try:
            resolve(reference, environ=os.environ, project=project, where=place)
        except AirfleetError as error:
            wrong = True
            yield Diagnosis("error", place, error.what, error.hint)
    if references and not wrong:
        read = wording.count(len(references) - commands, "secret")
        more = f"; {wording.count(commands, 'command')} of secrets not run" if commands else ""
        yield Diagnosis("ok", "secrets", f"{read} of fleet.yaml read{more}")


def judge_environment() -> Diagnosis:
    """Return the result for a project whose environment, with Airflow and PostgreSQL, does not exist yet."""

    def describe() -> str:
        python_packages.find_uv()
        return f"the first `airfleet up` will install {[*airflow_version.find_locks()][-1]} from its lock"

    return _attempt("Airflow", describe)


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _attempt(subject: str, describe: Callable[[], str]) -> Diagnosis:
    try:
        return Diagnosis("ok", subject, describe())
    except AirfleetError as error:
        # The text of a SpecError lists every problem.
        text = str(error).removesuffix(f"\n\nhint: {error.hint}")
        return Diagnosis("error", subject, text, error.hint)


def _examine_port(project: Path, folder: StateFolder) -> Iterator[Diagnosis]:
    if folder.root.is_dir() and folder.is_held():
        yield Diagnosis("ok", "ports", "in use by this platform, which is up")
        return
    try:
        wanted = load.read(project, cpus=1).ports
    except AirfleetError:
        return
    settings = (("ports.api", wanted.api), ("ports.database", wanted.database), ("ports.metrics", wanted.metrics))
    for setting, port in settings:
        if port is not None:
            yield _attempt(setting, lambda: _describe_port(port, setting))  # noqa: B023 - called before the next iteration


def _describe_port(port: int, setting: str) -> str:
    ports.require_free(port, setting=setting)
    return f"{port} is free"


def _describe_state(project: Path, folder: StateFolder) -> str:
    if not (folder.root / "instance.json").exists():
        return f"`airfleet up` will create {folder.root}"
    if environment.is_beside():
        has_own = load.read(project, cpus=1).database is not None
        postgres = launch.OWN if has_own else launch.postgres_version(launch.find_postgres())
        folder.check_instance(airflow=airflow_version.find_installed(), postgres=postgres)
    return f"{folder.root} can be used"


def judge_python(version: tuple[int, ...]) -> Diagnosis:
    """Return an error for a Python that airfleet does not run on."""
    text = ".".join(map(str, version))
    if (3, 11) <= version < (3, 14):
        return Diagnosis("ok", "Python", text)
    return Diagnosis("error", "Python", f"{text} is not 3.11, 3.12 or 3.13", "make the environment with another Python")


def judge_versions(installed: Callable[[str], str | None]) -> Iterator[Diagnosis]:
    """Yield how each required package compares with the versions that airfleet knows."""
    for name, series in REQUIRED.items():
        version = installed(name)
        if version is None:
            yield Diagnosis("error", name, "is not installed", airflow_version.explain_lock())
        elif not SpecifierSet(f"=={series}.*").contains(version, prereleases=True):
            yield Diagnosis("error", name, f"{version} is not {series}.x", airflow_version.explain_lock())
        else:
            yield Diagnosis("ok", name, version)


def judge_requirements(path: Path, installed: Callable[[str], str | None]) -> Iterator[Diagnosis]:
    """Yield what is missing of a requirements file, or installed in another version."""
    if not path.exists():
        return
    wanted = list(read_requirements(path.read_text()))
    wrong = [
        f"{one.name} {version or 'absent'}, not {str(one.specifier).removeprefix('==') or 'any version'}"
        for one in wanted
        if not ((version := installed(one.name)) and one.specifier.contains(version, prereleases=True))
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        yield Diagnosis("error", path.name, "; ".join(wrong[:3]) + more, f"pip install -r {path}")
    else:
        yield Diagnosis("ok", path.name, f"installed: {wording.count(len(wanted), 'package')}")


def read_requirements(text: str) -> Iterator[Requirement]:
    """Yield the packages that a requirements file asks for with this Python on this system."""
    for written, _ in python_packages.split_requirements(text):
        try:
            requirement = Requirement(written)
        except InvalidRequirement:  # a path or an address: pip alone knows the name of the package
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement


def judge_folder(folder: Path, is_writable: bool) -> Diagnosis:
    """Return an error for a state folder that nobody can write to."""
    if is_writable:
        return Diagnosis("ok", "folder", f"{folder} is writable")
    return Diagnosis(
        "error", "folder", f"{folder} is not writable", "change its owner, or name another folder: --state"
    )


def judge_space(folder: Path, free: int) -> Diagnosis:
    """Judge the free bytes of the disk: an error where a platform would not start."""
    what = f"{free / 2**30:.1f} GiB free on {folder}"
    if free >= LEAST_FREE_BYTES:
        return Diagnosis("ok", "disk", what)
    level: Level = "error" if free < launch.LEAST_FREE_BYTES else "warning"
    return Diagnosis(level, "disk", what, "free some space, or name a state folder on another disk: --state")


def judge_memory(available: int) -> Diagnosis:
    """Judge the available bytes of memory."""
    what = f"{available / 2**30:.1f} GiB available"
    if available >= LEAST_MEMORY_BYTES:
        return Diagnosis("ok", "memory", what)
    return Diagnosis("warning", "memory", what, "the platform needs about 0.7 GiB, and each running task 0.1 GiB more")


def judge_clock(now: float) -> Diagnosis:
    """Judge the time in seconds since 1970: schedules and logins fail with a clock that is years behind."""
    if now >= OLDEST_SANE_CLOCK:
        return Diagnosis("ok", "clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))
    return Diagnosis(
        "error", "clock", "is in the past, so schedules and logins would fail", "set it: timedatectl set-ntp true"
    )


def judge_user(uid: int) -> Diagnosis:
    """Judge the user that would run the platform."""
    if uid:
        return Diagnosis("ok", "user", f"uid {uid}, not root")
    return Diagnosis("warning", "user", "root, so every task runs as root too", "run airfleet as another user")

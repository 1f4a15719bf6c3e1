"""The packages that Dags of Airflow 2 need beside Airflow 3.3: providers by their imports, and the old requirements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from airfleet.operations.migration.source_rules import ENDED_PROVIDERS
from airfleet.releases.checks.source import SourceFile
from airfleet.workspace.python_packages import split_requirements

PREFIX = "apache-airflow-providers-"
# Names of providers of two parts. All others have one.
_GROUPS = frozenset({"amazon", "apache", "atlassian", "cncf", "common", "dbt", "microsoft"})
_ALONE = frozenset({"amazon"})


class PackageOrigin(StrEnum):
    """Where a package of the new platform comes from."""

    LOCK = "lock"  # airfleet's lock pins it, tested with Airflow
    REQUIREMENTS = "requirements"  # the new requirements.txt names it
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Package:
    """One package, with the line for requirements.txt, and why."""

    name: str
    source: PackageOrigin
    line: str
    why: str


def read_lock(text: str) -> dict[str, str]:
    """Return the version of each package that a lock pins."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def list_packages(
    sources: Iterable[SourceFile], connections: Iterable[str], requirements: str, lock: Mapping[str, str]
) -> tuple[Package, ...]:
    """Return the packages of the new platform.

    `sources` are the files after the rewrite; `connections` are the types of the connections. Providers that the lock
    does not pin are named without a version: `uv pip compile -c` with airfleet's lock chooses their version.
    """
    found: dict[str, Package] = {}
    for name, why in _list_providers(sources, connections):
        if name in lock:
            found.setdefault(name, Package(name, PackageOrigin.LOCK, f"{name}=={lock[name]}", why))
        else:
            found.setdefault(name, Package(name, PackageOrigin.REQUIREMENTS, name, why))
    for text, _ in split_requirements(requirements):
        for one in _read_requirement(text, lock):
            if one.name not in found or one.source is PackageOrigin.DROPPED:
                found[one.name] = one
    return tuple(sorted(found.values(), key=lambda one: (one.source, one.name)))


def _list_providers(sources: Iterable[SourceFile], connections: Iterable[str]) -> Iterable[tuple[str, str]]:
    for source in sources:
        for module, inner, _, line in source.imports:
            whole = f"{module}.{inner}" if module == "airflow.providers" else module
            if whole.startswith("airflow.providers.") and not whole.startswith(ENDED_PROVIDERS):
                yield _name_provider(whole.split(".")[2:]), f"{source.path}:{line} imports {whole}"
    for kind in sorted(set(connections)):
        if kind in _TYPES:
            yield PREFIX + _TYPES[kind], f"a connection has the type {kind}"


# Types of connections whose provider has another name than the type, and the usual ones of the same name.
_TYPES = {
    **{one: one for one in ("ftp", "http", "imap", "mongo", "mysql", "oracle", "postgres", "redis", "sftp", "slack")},
    **{one: one for one in ("smtp", "snowflake", "sqlite", "ssh", "trino", "vertica", "databricks", "elasticsearch")},
    **{"aws": "amazon", "gcpbigquery": "google", "google_cloud_platform": "google", "mssql": "microsoft-mssql"},
    **{"kubernetes": "cncf-kubernetes", "wasb": "microsoft-azure", "azure_data_factory": "microsoft-azure"},
    **{"spark": "apache-spark", "hive_cli": "apache-hive", "hiveserver2": "apache-hive", "kafka": "apache-kafka"},
    **{"dbt_cloud": "dbt-cloud", "slackwebhook": "slack", "jira": "atlassian-jira", "docker": "docker"},
}


def _name_provider(parts: list[str]) -> str:
    is_group = parts[0] in _GROUPS - _ALONE and len(parts) > 1
    return PREFIX + "-".join(part.replace("_", "-") for part in parts[: 2 if is_group else 1])


def _read_requirement(text: str, lock: Mapping[str, str]) -> Iterable[Package]:
    try:
        written = Requirement(text)
    except InvalidRequirement:
        if not text.startswith("-"):
            yield Package(text, PackageOrigin.REQUIREMENTS, text, "not a plain requirement; it is kept as it is")
        return
    name = canonicalize_name(written.name)
    if name == "apache-airflow":
        why = "airfleet installs Airflow itself"
        if written.extras:
            why += f"; its extras are named as providers: {', '.join(sorted(written.extras))}"
        yield Package(name, PackageOrigin.DROPPED, "", why)
        for extra in sorted(written.extras):
            provider = PREFIX + canonicalize_name(extra.replace(".", "-"))
            if provider in lock:
                yield Package(
                    provider, PackageOrigin.LOCK, f"{provider}=={lock[provider]}", f"the extra {extra} named it"
                )
        return
    if name in lock:
        why = "airfleet's lock pins it" + (f"; the old pin was {written.specifier}" if str(written.specifier) else "")
        yield Package(name, PackageOrigin.LOCK, f"{name}=={lock[name]}", why)
    elif name.startswith(PREFIX):
        why = "the old pin fits Airflow 2, so it is dropped" if str(written.specifier) else "as before"
        yield Package(name, PackageOrigin.REQUIREMENTS, name, why)
    else:
        yield Package(
            name, PackageOrigin.REQUIREMENTS, str(written), "as before; check that it supports Python 3.11 or later"
        )

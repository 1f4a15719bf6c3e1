"""The software bill of materials of a runtime: the Python packages that Airflow's processes run from, as CycloneDX."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.fleet.transport.connection import HostConnection, HostError
from airfleet.shell_script import read_program, render_script
from airfleet.spec.fleet import Fleet

AIRFLOW = "apache-airflow-core"
NOT_SET_UP = 97
TIMEOUT_S = 60
SPACE = uuid.UUID("f5dc6a0e-6a8e-5a0e-9d0a-6b8f4c1f7a35")


@dataclass(frozen=True, slots=True)
class RuntimePackage:
    """An installed package, with the requirements that it states."""

    name: str
    version: str
    license: str = ""
    summary: str = ""
    requires: tuple[str, ...] = ()

    @property
    def purl(self) -> str:
        """Return what names the package in every tool."""
        return f"pkg:pypi/{canonicalize_name(self.name)}@{self.version}"


@dataclass(frozen=True, slots=True)
class RuntimeInventory:
    """The packages of one runtime, and its version of Python."""

    python: str
    packages: tuple[RuntimePackage, ...]


def read_here() -> RuntimeInventory:
    """Return the packages beside this Python.

    Raises:
        AirfleetError: They cannot be read.
    """
    program = read_program(__package__, "read_packages")
    done = subprocess.run(
        [sys.executable, "-P", "-"], input=program, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    return parse(done.returncode, done.stdout, done.stderr, "this machine")


def read_there(fleet: Fleet, project: Path, name: str | None) -> RuntimeInventory:
    """Return the packages of a host of this name, or of the first scheduler host.

    Raises:
        UsageError: There is no such host, or it does not run Airflow.
        HostError: It does not answer, or nothing is installed there yet.
    """
    hosts = [one for one in fleet.hosts if {"web", "scheduler", "worker"} & set(one.roles)]
    host = next((one for one in hosts if one.name == name or (name is None and "scheduler" in one.roles)), None)
    if host is None:
        known = ", ".join(one.name for one in hosts)
        raise UsageError(f"{name!r} is not a host that runs Airflow", hint=f"those are: {known}")
    connection = HostConnection(host, project)
    try:
        connection.open()
        script = render_script(__package__, "read_packages_there", NOT_SET_UP=NOT_SET_UP)
        program = io.BytesIO(read_program(__package__, "read_packages").encode())
        found = connection.run(script, timeout_s=TIMEOUT_S, data=program)
    finally:
        connection.close()
    if found.code == NOT_SET_UP:
        raise HostError("Airflow is not installed there yet", where=host.name, hint="airfleet apply")
    return parse(found.code, found.out, found.err, host.name)


def parse(code: int, out: str, err: str, where: str) -> RuntimeInventory:
    """Return what the program printed.

    Raises:
        AirfleetError: It printed nothing of the kind.
    """
    try:
        body: dict[str, Any] = json.loads(out) if code == 0 else {}
        packages = tuple(
            RuntimePackage(
                one["name"],
                one["version"],
                one["License-Expression"] or _shorten(one["License"]),
                one["Summary"],
                tuple(one["requires"]),
            )
            for one in body["packages"]
        )
        return RuntimeInventory(body["python"], packages)
    except (KeyError, TypeError, ValueError):
        last = (err.strip().splitlines() or [f"exit code {code}"])[-1]
        what = f"the packages cannot be read: {last[:300]}"
        raise AirfleetError(what, where=where, hint="airfleet doctor") from None


def render(inventory: RuntimeInventory, name: str, airfleet: str, now: datetime) -> dict[str, Any]:
    """Return the bill in CycloneDX 1.6. The same packages have the same serial number."""
    packages = sorted(inventory.packages, key=lambda one: one.purl)
    known: dict[str, str] = {canonicalize_name(one.name): one.purl for one in packages}
    airflow = next((one.version for one in packages if canonicalize_name(one.name) == AIRFLOW), "")
    root = {"type": "application", "bom-ref": name, "name": name, **({"version": airflow} if airflow else {})}
    serial = uuid.uuid5(SPACE, "\n".join([name, inventory.python, *(one.purl for one in packages)]))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": now.isoformat(timespec="seconds"),
            "tools": {"components": [{"type": "application", "name": "airfleet", "version": airfleet}]},
            "component": root,
            "properties": [{"name": "airfleet:python", "value": inventory.python}],
        },
        "components": [_render_component(one) for one in packages],
        "dependencies": [
            {"ref": name, "dependsOn": [one.purl for one in packages]},
            *({"ref": one.purl, "dependsOn": _find_needed(one, known, inventory.python)} for one in packages),
        ],
    }


def list_requirements(inventory: RuntimeInventory) -> Iterable[str]:
    """Return each package with its version, as a file of requirements has it."""
    return (f"{canonicalize_name(one.name)}=={one.version}" for one in inventory.packages)


def _render_component(package: RuntimePackage) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    if package.summary:
        found["description"] = package.summary
    if package.license:
        found["licenses"] = [{"license": {"name": package.license}}]
    return found


def _find_needed(package: RuntimePackage, known: Mapping[str, str], python: str) -> list[str]:
    """Return the installed packages that this one requires on such a Python, without those of its extras."""
    environment: dict[str, str] = {
        **{name: str(value) for name, value in default_environment().items()},
        "extra": "",
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python,
    }
    needed = set()
    for text in package.requires:
        try:
            one = Requirement(text)
        except InvalidRequirement:
            continue
        name = canonicalize_name(one.name)
        if name in known and (one.marker is None or one.marker.evaluate(environment)):
            needed.add(known[name])
    return sorted(needed)


def _shorten(text: str) -> str:
    """Return the first line of a licence: some packages have the whole text there."""
    return next((line.strip()[:200] for line in text.splitlines() if line.strip()), "")

"""The assessment of a platform of Airflow 2: what its move to Airflow 3.3 takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airfleet.operations.migration import dags, fleet_file, metadata, packages, rewriting, settings
from airfleet.operations.migration.dags import DagAssessment
from airfleet.operations.migration.findings import Handling, MigrationFinding, estimate
from airfleet.operations.migration.fleet_file import WrittenFleetFile
from airfleet.operations.migration.metadata import Metadata
from airfleet.operations.migration.packages import Package, PackageOrigin
from airfleet.operations.migration.rewriting import Rewrite
from airfleet.operations.migration.settings import Settings
from airfleet.releases.checks.source import SourceFile

CONTRACT = 1


@dataclass(frozen=True, slots=True)
class Assessment:
    """Everything about one move. `helpers` are findings in files without a Dag."""

    airflow: str
    rewrite: Rewrite
    dags: tuple[DagAssessment, ...]
    helpers: tuple[MigrationFinding, ...]
    packages: tuple[Package, ...]
    settings: Settings
    metadata: Metadata
    fleet_file: WrittenFleetFile

    @property
    def minutes(self) -> int:
        """Return the minutes of all Dags and helpers."""
        return sum(dag.minutes for dag in self.dags) + estimate(self.helpers)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Return the Dags of the metadata database that no literal id in the folder names."""
        known = {dag.dag_id for dag in self.dags}
        return tuple(name for name in self.metadata.dags if name not in known)

    @property
    def requirements(self) -> str:
        """Return the text of the new requirements.txt."""
        return "".join(f"{one.line}\n" for one in self.packages if one.source is PackageOrigin.REQUIREMENTS)

    def count(self) -> Counter[Handling]:
        """Return the number of findings of each verdict."""
        return Counter(one.verdict for one in self.rewrite.findings)


def assess(
    folder: Path,
    *,
    airflow: str,
    lock: str,
    config: Path | None = None,
    requirements: Path | None = None,
    database: Metadata | None = None,
) -> Assessment:
    """Return the assessment of a folder of Dags. `lock` is the text of the lock of this version of Airflow.

    Raises:
        UsageError: A file or folder is not there or not readable.
        AirfleetError: ruff is missing or fails.
    """
    old = settings.read(config) if config else Settings()
    held = database or metadata.Metadata()
    rewrite = rewriting.rewrite(folder)
    sources = {path: SourceFile(path, text) for path, text in rewrite.old.items() if path.endswith(".py")}
    found = dags.assess(sources, rewrite.findings)
    with_dags = {dag.path for dag in found}
    after = [SourceFile(path, text) for path, text in rewrite.new.items() if path.endswith(".py")]
    pinned = packages.read_lock(lock)
    needed = packages.list_packages(
        after,
        [one.type for one in held.connections],
        requirements.read_text("utf-8") if requirements else "",
        pinned,
    )
    return Assessment(
        airflow=airflow,
        rewrite=rewrite,
        dags=found,
        helpers=tuple(one for one in rewrite.findings if one.path not in with_dags),
        packages=needed,
        settings=old,
        metadata=held,
        fleet_file=fleet_file.build(found, old, held),
    )


def to_json(one: Assessment) -> Mapping[str, Any]:
    """Return the assessment as JSON. It holds no value of a secret."""
    counts = one.count()
    return {
        "contract": CONTRACT,
        "airflow": one.airflow,
        "minutes": one.minutes,
        "findings": {verdict.value: counts[verdict] for verdict in Handling},
        "dags": [
            {
                "dag_id": dag.dag_id,
                "path": dag.path,
                "line": dag.line,
                "minutes": dag.minutes,
                "broken": dag.is_broken,
                "findings": [_finding(found) for found in dag.findings],
            }
            for dag in one.dags
        ],
        "helpers": [_finding(found) for found in one.helpers],
        "unread": [{"path": path, "why": why} for path, why in one.rewrite.unread],
        "unknown_dags": list(one.unknown),
        "diff": one.rewrite.diff,
        "packages": [
            {"name": found.name, "source": found.source.value, "line": found.line, "why": found.why}
            for found in one.packages
        ],
        "options": [
            {"section": option.section, "option": option.name, "fate": option.fate.value, "note": option.note}
            for option in one.settings.options
        ],
        "users": [
            {"name": user.name, "roles": list(user.roles), "active": user.is_active} for user in one.metadata.users
        ],
        "fleet_yaml": {
            "text": one.fleet_file.text,
            "secrets": list(one.fleet_file.secrets),
            "left_out": list(one.fleet_file.left_out),
            "problems": list(one.fleet_file.problems),
        },
    }


def _finding(found: MigrationFinding) -> dict[str, Any]:
    return {
        "path": found.path,
        "line": found.line,
        "rule": found.rule,
        "verdict": found.verdict.value,
        "what": found.what,
        "why": found.why,
        "action": found.action,
    }

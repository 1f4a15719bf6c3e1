"""`airflow airfleet patches`: list the patches of Airflow, and whether they fit the installed Airflow."""

from __future__ import annotations

from typing import Any

from airfleet_provider.compat.patches.patch import Patch
from airfleet_provider.compat.patches.registry import PATCHES


def run_command(arguments: Any) -> None:  # noqa: ANN401 - argparse's namespace
    """Print one row for each patch, as Airflow's own commands do. Exit with 1 if a patch does not fit."""
    from airflow.cli.simple_table import AirflowConsole  # noqa: PLC0415 - reading the registry imports no Airflow

    rows = [describe(patch) for patch in PATCHES]
    AirflowConsole().print_as(data=rows, output=arguments.output)
    if any(row["requirement"] != "holds" for row in rows):
        raise SystemExit(1)


def describe(patch: Patch) -> dict[str, str]:
    """Return a row of the table. `applied` concerns this process only; most patches are applied in others."""
    return {
        "name": patch.name,
        "target": ", ".join(patch.targets),
        "requirement": patch.find_doubt() or "holds",
        "applied": "yes" if patch.is_applied() else "no",
        "processes": patch.processes,
        "lost_without": patch.without,
        "without": "the process does not start" if patch.is_required else "Airflow's own way",
    }

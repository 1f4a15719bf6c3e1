"""The archiver: it moves old finished runs out of the metadata database by itself, if fleet.yaml says how often."""

from __future__ import annotations

from pathlib import Path

from airfleet.components.model import Component, Process
from airfleet.spec.fleet import Archive

NAME = "archiver"


def find_store(archive: Archive, state: Path) -> str:
    """Return where the archived runs of a platform on one machine are; `state` is its state folder."""
    return archive.store or str(state / "archive")


def describe(archive: Archive, store: str) -> Component:
    """Describe the archiver; `archive.every_hours` is there. Its lock needs a session of PostgreSQL."""
    words = (
        *("--store", store, "--retention", str(archive.retention), "--every-hours", str(archive.every_hours)),
        *("--budget", str(archive.budget), "--pause", str(archive.pause)),
    )
    command = ("airflow", "airfleet", "archive", "keep", *words)
    return Component(NAME, (Process(name=NAME, commands=(command,), after=("metadata",)),))

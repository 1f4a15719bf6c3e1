"""What a Celery worker imports and makes once, so that its processes share it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

# Celery and Airflow are imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def import_commands() -> None:
    """Import Celery's command line without flower, which adds a command that no worker runs, and 11 MiB."""
    modules: dict[str, Any] = sys.modules
    is_away = modules.setdefault("flower", None) is None
    try:
        import celery.bin.celery  # noqa: F401
    finally:
        if is_away:
            del modules["flower"]


def keep_parts() -> None:
    """Make what each process of the pool makes at its start.

    To end with its worker, a process lets a parser of C read a line. That takes a thousand regular expressions.
    """
    from billiard.util import get_pdeathsig

    with suppress(OSError):
        get_pdeathsig()

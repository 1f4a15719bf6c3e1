"""The part of airfleet that lives beside Airflow, inside Airflow's own interpreter.

For the code of tasks: `from airfleet_provider import trace`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airfleet_provider.task_records.user_spans import trace

__all__ = ["trace"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever a module has
    if name == "trace":
        from airfleet_provider.task_records.user_spans import trace  # noqa: PLC0415 - most processes write no span

        return trace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""`airflow db clean` does not remove live Dags, however long ago their files were parsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Has


def narrow_cleanup() -> None:
    """Let `airflow db clean` remove only Dags that are stale and have no task instances.

    Airflow judges a Dag by the time of its last parse. It also tries to remove Dags whose last run it keeps. A foreign
    key forbids that, and Airflow then ends without cleaning the other tables.

    Raises:
        UnfitAirflowError: This Airflow would remove live Dags.
    """
    apply(PATCH)


def _make(found: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    # Only a process that cleans the database needs this import.
    from sqlalchemy import column  # noqa: PLC0415

    narrowed = type(found)(
        table_name=found.table_name,
        recency_column_name=found.recency_column_name,
        extra_columns=["is_stale"],
        dag_id_column_name=found.dag_id_column_name,
        dependent_tables=found.dependent_tables,
        extra_filters=[column("is_stale").is_(True)],
        skip_if_referenced=[("task_instance", "dag_id")],
        referenced_pk_column="dag_id",
    )
    return (narrowed,)


_FIELDS = (
    "table_name",
    "recency_column_name",
    "extra_columns",
    "dag_id_column_name",
    "dependent_tables",
    "extra_filters",
    "skip_if_referenced",
    "referenced_pk_column",
)
PATCH = Patch(
    name="db-clean",
    targets=("airflow.utils.db_cleanup:config_dict.dag",),
    requires=(
        Accepts("airflow.utils.db_cleanup:_TableConfig", named=_FIELDS),
        Has("airflow.utils.db_cleanup:config_dict.dag", _FIELDS),
    ),
    make=_make,
    without="`airflow db clean` removes Dags that are live",
    processes="`airflow db clean`",
    is_required=True,
)

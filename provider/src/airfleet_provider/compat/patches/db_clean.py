"""`airflow db clean`, narrowed to what is old here: a live Dag is not, however long ago its file was parsed."""

from __future__ import annotations

# ruff: noqa: PLC0415


def narrow_cleanup() -> None:
    """Have `airflow db clean` remove only Dags that are gone and have no task instances left.

    Airflow judges a Dag by the time of its last parse. It also tries to remove Dags whose last run it keeps, which a
    foreign key forbids; it then ends without looking at the other tables.
    """
    from airflow.utils import db_cleanup
    from sqlalchemy import column

    found = db_cleanup.config_dict["dag"]
    db_cleanup.config_dict["dag"] = db_cleanup._TableConfig(
        table_name=found.table_name,
        recency_column_name=found.recency_column_name,
        extra_columns=["is_stale"],
        dag_id_column_name=found.dag_id_column_name,
        dependent_tables=found.dependent_tables,
        extra_filters=[column("is_stale").is_(True)],
        skip_if_referenced=[("task_instance", "dag_id")],
        referenced_pk_column="dag_id",
    )

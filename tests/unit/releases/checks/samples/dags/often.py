"""Schedules that make no sense."""

from datetime import datetime, timedelta

from airflow.sdk import DAG

with DAG("seconds", schedule=timedelta(seconds=30)) as seconds:
    pass

with DAG("never", schedule="0 0 30 2 *") as never:
    pass

with DAG("over", schedule="@daily", start_date=datetime(2024, 1, 1), end_date=datetime(2025, 1, 1)) as over:
    pass

"""Move scheduled Dags from a running Airflow 2 to airfleet, and back: no run is doubled, and none is skipped."""

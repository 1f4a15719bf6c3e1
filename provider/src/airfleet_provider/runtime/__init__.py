"""The former name of `task_runtime`, for an earlier airflow.cfg; it goes with the next version."""

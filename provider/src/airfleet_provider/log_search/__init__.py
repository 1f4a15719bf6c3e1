"""Finds log lines again: the commands of `airflow airfleet logs`, and the logs of tasks in Airflow's UI."""

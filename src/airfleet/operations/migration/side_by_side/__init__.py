"""Runs of Airflow 2 that run again on Airflow 3, apart from both platforms, and what differs."""

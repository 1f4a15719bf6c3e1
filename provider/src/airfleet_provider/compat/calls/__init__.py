"""Calls of private names of Airflow and Celery."""

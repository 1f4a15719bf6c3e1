"""Names of Airflow and Celery that airfleet calls although they are private."""

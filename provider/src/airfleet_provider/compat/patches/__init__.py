"""Functions of Airflow that airfleet replaces in processes of its own."""

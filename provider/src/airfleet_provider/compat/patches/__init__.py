"""Functions of Airflow that airfleet replaces in its own processes (ADR 34)."""

"""The agents process: small loops, such as the exporter of metrics, beside Airflow and without an import of it."""

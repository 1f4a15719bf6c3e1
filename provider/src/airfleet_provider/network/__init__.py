"""Connections: HTTP without TLS, limits for hosts that have gone silent, the address of this host. No Airflow."""

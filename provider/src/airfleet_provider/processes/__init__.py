"""Processes: fork servers and pools, messages with descriptors, waits, who dies with whom. No Airflow."""

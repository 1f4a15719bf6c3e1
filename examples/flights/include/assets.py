"""The assets through which one Dag starts the next."""

from airflow.sdk import Asset

FLIGHTS = Asset("warehouse.flights")
MARTS = Asset("warehouse.flights_marts")

"""The assets through which one Dag starts the next."""

from airflow.sdk import Asset

RAW = Asset("orders.raw")
MARTS = Asset("orders.marts")
SCORES = Asset("orders.scores")
PAYOUTS = Asset("orders.payouts")

"""The part of airfleet that lives beside Airflow, inside Airflow's own interpreter."""

__version__ = "0.1.0"

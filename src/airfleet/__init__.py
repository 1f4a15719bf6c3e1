"""airfleet turns plain machines into a production Apache Airflow platform."""

__version__ = "0.1.0"

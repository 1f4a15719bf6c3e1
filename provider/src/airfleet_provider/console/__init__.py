"""The Fleet pages in Airflow's UI: their API, and the built files of the pages (ADR 56)."""

"""Care for the metadata database: what PostgreSQL's defaults and Airflow's schema leave to an administrator."""

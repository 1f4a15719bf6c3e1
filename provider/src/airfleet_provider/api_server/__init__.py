"""What airfleet adds to Airflow's api-servers."""

"""What the Dags of this project are made of; every module works without Airflow running."""

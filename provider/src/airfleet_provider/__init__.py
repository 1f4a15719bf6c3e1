"""The part of airfleet that lives beside Airflow, inside Airflow's own interpreter."""

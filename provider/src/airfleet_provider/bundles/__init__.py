"""The files of releases on a host: Airflow's bundles, their download from other hosts, what is removed again."""

"""Which Dags write which assets, which read them, and who depends on what."""

"""Whether tasks, hosts, services and the database are alive."""

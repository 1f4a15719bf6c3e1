"""One active scheduler, and standbys that take over by a lease in PostgreSQL."""

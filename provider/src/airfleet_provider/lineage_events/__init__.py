"""Keeps what events of OpenLineage say of datasets and columns, and passes the events on to backends."""

"""Starts tasks as forks of zygotes: processes that have loaded the Dag file already."""

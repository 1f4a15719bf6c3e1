"""The file that configures the agents process (`AIRFLEET_AGENTS`): one JSON object with these keys.

The control side writes it. It holds the login of the database, and only the user of the process may read it.
"""

from __future__ import annotations

from enum import StrEnum


class AgentsKey(StrEnum):
    """The keys of the file. Each has an object as its value, but for `HOST` and `HOSTS`."""

    # The name of this host: the holder's name in the lease of agents.
    HOST = "host"
    # How libpq connects to the metadata database: its keywords and their values.
    DATABASE = "database"
    # Where the process serves `/metrics`, `/health` and `/ready`: `address` and `port`. With TLS also the paths of
    # `certificate` and `key`, and whether other hosts have to use it: `tls_required`.
    SERVER = "server"
    METRICS = "metrics"
    NOTIFICATIONS = "notifications"
    SLAS = "slas"
    BREAKERS = "breakers"
    LIMITS = "limits"
    SLOTS = "slots"
    # The path of a file that has, of `METRICS` and `SLOTS`, what changes when a host joins or leaves the fleet. The
    # process reads it again after each change. It is not there on one machine, where these sections are whole.
    HOSTS = "hosts"
    # `key` signs heads of the audit log, and `heads` is the file that keeps them, if there is one.
    AUDIT = "audit"
    # Where traces of ended runs go (`contract.tracing_policy`). It is not there if they go nowhere.
    TRACING = "tracing"
    # Which backends get events of OpenLineage (`contract.openlineage_policy`). It is not there if no task writes any.
    OPENLINEAGE = "openlineage"

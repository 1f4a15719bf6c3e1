"""The values in the tables of the leases. `contract.migrations` makes the tables.

`airfleet.tenure` has one row for each term of a scheduler, and `airfleet.seat` one for each running candidate.
"""

from __future__ import annotations

from enum import StrEnum

# The channel that announces a free lease, or a request to its holder to hand over.
CHANNEL = "airfleet_lease"
# The names of the leases. `scheduler_ha` uses the first and `agents` the second, each with rules of its own.
SCHEDULER = "scheduler"
AGENTS = "agents"


class CandidateState(StrEnum):
    """The state of a candidate for the lease."""

    WARMING = "warming"
    STANDBY = "standby"
    TAKING_OVER = "taking over"
    ACTIVE = "active"

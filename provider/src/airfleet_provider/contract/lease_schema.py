"""What the tables of the scheduler's lease hold; `contract.migrations` makes the tables.

`airfleet.tenure` has one row for each term of a scheduler, `airfleet.seat` one for each candidate that lives.
"""

from __future__ import annotations

from enum import StrEnum

# Announces that the lease is free, or that its holder is asked to hand over.
CHANNEL = "airfleet_lease"
# The name of the one lease that there is.
SCHEDULER = "scheduler"


class CandidateState(StrEnum):
    """What a candidate for the lease does."""

    WARMING = "warming"
    STANDBY = "standby"
    TAKING_OVER = "taking over"
    ACTIVE = "active"

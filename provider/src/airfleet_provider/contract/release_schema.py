"""What the tables of releases and their deployments hold; `contract.migrations` makes the tables."""

from __future__ import annotations

from enum import StrEnum

# Announces the id of a deployment that was asked for or has changed its state.
CHANNEL = "airfleet_release"
# The actor of a rollback that nobody asked for.
AUTOMATIC_ACTOR = "airfleet"


class DeploymentAction(StrEnum):
    """What a deployment was asked for."""

    CHECK = "check"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    PRUNE = "prune"


class DeploymentState(StrEnum):
    """How far a deployment has come."""

    REQUESTED = "requested"
    PARSING = "parsing"
    PUBLISHING = "publishing"
    WATCHING = "watching"
    DONE = "done"
    FAILED = "failed"


# The release agent has still to do something before the release is live.
PENDING = (DeploymentState.REQUESTED, DeploymentState.PARSING, DeploymentState.PUBLISHING)
UNFINISHED = (*PENDING, DeploymentState.WATCHING)
FINISHED = frozenset({DeploymentState.DONE, DeploymentState.FAILED})

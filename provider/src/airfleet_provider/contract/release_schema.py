"""The values in the tables of releases and deployments. `contract.migrations` makes the tables."""

from __future__ import annotations

from enum import StrEnum

# The channel that announces the id of a new deployment, or of one whose state has changed.
CHANNEL = "airfleet_release"
# The actor of an automatic rollback.
AUTOMATIC_ACTOR = "airfleet"


class DeploymentAction(StrEnum):
    """The requested action of a deployment."""

    CHECK = "check"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    PRUNE = "prune"


class DeploymentState(StrEnum):
    """The state of a deployment."""

    REQUESTED = "requested"
    PARSING = "parsing"
    PUBLISHING = "publishing"
    WATCHING = "watching"
    DONE = "done"
    FAILED = "failed"


# The states in which the release agent still has work before the release is live.
PENDING = (DeploymentState.REQUESTED, DeploymentState.PARSING, DeploymentState.PUBLISHING)
UNFINISHED = (*PENDING, DeploymentState.WATCHING)
FINISHED = frozenset({DeploymentState.DONE, DeploymentState.FAILED})

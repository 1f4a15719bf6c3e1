"""The queue of deployments: requests to check a release, to make one live or to remove old ones."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract.release_policy import WatchPolicy
from airfleet_provider.contract.release_schema import PENDING, DeploymentAction, DeploymentState
from airfleet_provider.contract.statements import Statements
from airfleet_provider.contract.text import one_line
from airfleet_provider.database import run

SQL = Statements(__package__, "deployments")

log = logging.getLogger(__name__)


class DeploymentRefusedError(Exception):
    """A deployment cannot be carried out; `detail` holds the reason, as it is stored with the deployment."""

    def __init__(self, message: str, **detail: object) -> None:
        super().__init__(message)
        self.detail = {"message": message, **detail}


@dataclass(frozen=True, slots=True)
class QueuedDeployment:
    """One row of the queue."""

    id: int
    bundle: str
    release: str | None
    action: str
    actor: str | None
    reason: str | None
    detail: Mapping[str, Any]

    @property
    def is_check(self) -> bool:
        """Whether the deployment only parses the release and reports the result; nothing goes live."""
        return self.action == DeploymentAction.CHECK

    @property
    def allows_errors(self) -> bool:
        """Whether the release goes live although some of its files do not load.

        A rollback allows errors unless its request forbids them: the live release is assumed to be worse.
        """
        return bool(self.detail.get("allow_errors", self.action == DeploymentAction.ROLLBACK))

    @property
    def undoes(self) -> int | None:
        """The id of the deployment whose watch requested this rollback, if one did."""
        return self.detail.get("undo")

    @property
    def watch_seconds(self) -> float:
        """The seconds for which the release is watched once it is live; 0 for anything but a promotion."""
        policy = WatchPolicy.read(self.detail.get("policy", {}))
        return policy.watch_seconds if self.action == DeploymentAction.PROMOTE else 0.0


def find_next() -> QueuedDeployment | None:
    """Return the oldest unfinished deployment, or None."""
    with metadata_db.open_session() as session:
        row = run(session, SQL["next"], pending=PENDING).one_or_none()
    return QueuedDeployment(**row._mapping) if row else None


def find_previous(session: Any, bundle: str) -> str | None:  # noqa: ANN401 - sqlalchemy.orm.Session
    """Return the release of a bundle that was live before the current live release, or None."""
    previous: str | None = run(session, SQL["find_previous"], bundle=bundle).scalar()
    return previous


def choose_previous(deployment: QueuedDeployment) -> str:
    """Return the release that a rollback without a named release makes live.

    Raises:
        DeploymentRefusedError: there is no earlier release, or the deployment is not a rollback.
    """
    with metadata_db.open_session() as session:
        previous = find_previous(session, deployment.bundle)
    if deployment.action != DeploymentAction.ROLLBACK or not previous:
        raise DeploymentRefusedError("there is no earlier release to roll back to")
    return previous


def enter(deployment: QueuedDeployment, release: str, state: DeploymentState) -> None:
    """Record that a deployment of this release has reached a state."""
    with metadata_db.open_session() as session:
        run(session, SQL["enter"], id=deployment.id, release=release, state=state)


def finish(deployment: QueuedDeployment, detail: Mapping[str, object]) -> None:
    """Record that a check or a prune is done; `go_live` does so for a deployment that makes a release live."""
    _end(deployment, DeploymentState.DONE, detail)


def fail(deployment: QueuedDeployment, detail: Mapping[str, object]) -> None:
    """Record why a deployment has failed, and log it."""
    log.warning("deployment %s of %s failed: %s", deployment.id, deployment.bundle, one_line(detail["message"], 2000))
    _end(deployment, DeploymentState.FAILED, detail)


def _end(deployment: QueuedDeployment, state: DeploymentState, detail: Mapping[str, object]) -> None:
    with metadata_db.open_session() as session:
        run(session, SQL["finish"], pending=PENDING, id=deployment.id, state=state, detail=json.dumps(detail))


def is_overtaken(session: Any, deployment: QueuedDeployment) -> bool:  # noqa: ANN401 - sqlalchemy.orm.Session
    """Return whether a later deployment is live already.

    Later means: requested after this deployment or, for an automatic rollback, after the deployment it undoes.
    """
    found = run(session, SQL["is_overtaken"], bundle=deployment.bundle, id=deployment.undoes or deployment.id)
    return found.first() is not None


def go_live(
    session: Any,  # noqa: ANN401 - sqlalchemy.orm.Session
    deployment: QueuedDeployment,
    detail: Mapping[str, object],
    *,
    is_moved: bool,
    is_watched: bool,
) -> bool:
    """Record, in the transaction that publishes a release, that the release is live.

    Returns False if the deployment was finished before.
    """
    ended = run(
        session,
        SQL["go_live"],
        pending=PENDING,
        id=deployment.id,
        state=DeploymentState.WATCHING if is_watched else DeploymentState.DONE,
        is_moved=is_moved,
        seconds=deployment.watch_seconds,
        detail=json.dumps(detail),
    )
    return bool(ended.rowcount)

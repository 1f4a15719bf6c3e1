"""The rights on Dags that rules of fleet.yaml grant, as an api-server knows them (ADR 71)."""

from __future__ import annotations

import time
from collections.abc import Callable

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import access_store
from airfleet_provider.contract.access_rules import DagRight
from airfleet_provider.contract.access_store import DagRights
from airfleet_provider.processes.cache import Cache

# A new Dag, a new tag and a changed rule are known after so many seconds.
KEPT_S = 3.0


class KnownRights:
    """Reads the rules and the tags of all Dags from the database, at most once in KEPT_S seconds for all users.

    Methods raise what the database raises: without an answer, nothing is granted. An error is kept as long as an answer
    is, so that requests in an outage do not wait for a time-out one after another.
    """

    def __init__(self, read: Callable[[], DagRights], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._cache = Cache(KEPT_S, clock, keeps_error=lambda _: True, ages_from_question=True)

    def allows(self, user: int | None, dag: str, right: DagRight) -> bool:
        """Return whether a rule grants a user a right on a Dag. Nobody has a right on a Dag that does not exist."""
        known = self._get()
        tags = known.tags.get(dag)
        return tags is not None and known.rules.find(self._roles(known, user), dag, tags, right) is not None

    def list_dags(self, user: int | None, right: DagRight) -> frozenset[str]:
        """Return the Dags on which rules grant a user a right."""
        known = self._get()
        roles = self._roles(known, user)
        if not roles & known.rules.roles.keys():
            return frozenset()
        return frozenset(dag for dag, tags in known.tags.items() if known.rules.find(roles, dag, tags, right))

    def has_rule(self, user: int | None) -> bool:
        """Return whether a role of a user has a rule that grants something, even if it fits no Dag yet."""
        known = self._get()
        rules = (known.rules.roles.get(role) for role in self._roles(known, user))
        return any(one and (one.read or one.edit) for one in rules)

    def _get(self) -> DagRights:
        return self._cache.get(None, self._read)

    @staticmethod
    def _roles(known: DagRights, user: int | None) -> frozenset[str]:
        return known.roles.get(user, frozenset()) if user is not None else frozenset()


def read_rights() -> DagRights:
    """Return what the database says now."""
    with metadata_db.open_snapshot() as query:
        return access_store.read_dag_rights(query)

"""What a user may see and do on the Fleet pages, from the rights that Airflow's auth manager gives the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airfleet_provider.compat.calls import logins
from airfleet_provider.contract.explanation import reading
from airfleet_provider.contract.explanation.reading import Query

# Airflow's auth manager itself caches users for 30 s (`[fab] cache_ttl`).
KEPT_S = 5.0


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of one user.

    `dags` are the Dags the user may read, and `reads_all` says that no other Dag exists. `sees_platform` is the right
    to see the activity of the whole cluster. `operates` is the right to change the platform, and `audits` the right to
    see who changed it.
    """

    name: str
    dags: frozenset[str]
    reads_all: bool
    sees_platform: bool
    operates: bool
    audits: bool = False

    def may_see(self, dag: str | None) -> bool:
        """Return whether the user may see what is about a Dag, or about none."""
        if not dag:
            return self.sees_platform
        return self.reads_all or dag in self.dags


def find_rights(user: Any, query: Query) -> Rights:  # noqa: ANN401 - a user of any auth manager
    """Return the rights of a user. `query` reads the metadata database."""
    dags = logins.read_dags(user)
    # A Dag that is added between the two readings is one the user may not read, until the next reading.
    reads_all = dags.issuperset(reading.list_dags(query))
    return Rights(
        name=user.get_name(),
        dags=dags,
        reads_all=reads_all,
        sees_platform=logins.may_see_platform(user),
        operates=logins.may_operate(user),
        audits=reads_all and logins.may_audit(user),
    )


# Returns the rights of a user.
FindRights = Callable[[Any], Rights]

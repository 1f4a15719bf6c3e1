"""What becomes of the events of OpenLineage: the key `openlineage` of the agents' configuration, or no such key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

# Days for which events, and what they say of datasets, are kept after they were seen last.
KEPT_DAYS = 90
# Days for which an event itself is kept once it was read and no backend waits for it. Nothing reads it then.
EVENT_DAYS = 7


class BackendKind(StrEnum):
    """A program that takes events of OpenLineage over HTTP."""

    MARQUEZ = "marquez"
    DATAHUB = "datahub"
    OPENMETADATA = "openmetadata"


# Where each kind takes an event, below its address.
PATHS = {
    BackendKind.MARQUEZ: "/api/v1/lineage",
    BackendKind.DATAHUB: "/openapi/openlineage/api/v1/lineage",
    BackendKind.OPENMETADATA: "/api/v1/openlineage/lineage",
}


@dataclass(frozen=True, slots=True)
class LineageBackend:
    """A backend, and which Dags it gets events of. `dags` are patterns, as a shell has them; none means all Dags.

    `url` is the address without a path. `token` goes into the header `Authorization`. `authority` is a file with the
    certificates to trust in place of the system's.
    """

    name: str
    kind: BackendKind
    url: str
    token: str = field(default="", repr=False)
    dags: tuple[str, ...] = ()
    authority: str = ""

    @property
    def endpoint(self) -> str:
        """Return where events are posted."""
        base, path = self.url.rstrip("/"), PATHS[self.kind]
        return base if base.endswith(path) else f"{base}{path}"

    def wants(self, dag: str) -> bool:
        """Whether the events of a Dag go to this backend."""
        return not self.dags or any(fnmatchcase(dag, one) for one in self.dags)


@dataclass(frozen=True, slots=True)
class OpenLineagePolicy:
    """The backends, and for how many days facts, and events that are done with, are kept."""

    backends: tuple[LineageBackend, ...] = ()
    keep_days: int = KEPT_DAYS
    event_days: int = EVENT_DAYS

    def to_json(self) -> dict[str, Any]:
        """Return the policy as plain data; `from_json` reads it."""
        backends = [asdict(one) for one in self.backends]
        return {"backends": backends, "keep_days": self.keep_days, "event_days": self.event_days}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OpenLineagePolicy:
        """Return the policy that `to_json` wrote."""
        backends = tuple(
            LineageBackend(**{**one, "kind": BackendKind(one["kind"]), "dags": tuple(one["dags"])})
            for one in data["backends"]
        )
        return cls(backends, int(data["keep_days"]), int(data.get("event_days", EVENT_DAYS)))

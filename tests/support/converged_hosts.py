"""The state of a host right after an apply."""

from __future__ import annotations

from airfleet.components.model import reveal
from airfleet.runners.fleet.plan import systemd_units
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.facts import FileFact, HostFacts, UnitFact


def converged(want: DesiredHost) -> HostFacts:
    """Return the state of a host after an apply."""
    files = (*want.files, *want.early)
    return HostFacts(
        files={str(file.path): FileFact(file.digest, file.owner, file.group, file.mode) for file in files},
        folders={str(one.path): FileFact("-", one.owner, one.group, one.mode) for one in want.folders},
        units={
            one.unit: UnitFact("active", "enabled", reveal(systemd_units.fingerprint(one).content))
            for one in want.services
        },
        jobs={job.name: job.fingerprint for part in want.parts for job in part.jobs},
        users=frozenset(want.users),
        masked=frozenset(want.masks),
        managed=frozenset(str(file.path) for file in want.files if "airfleet" in str(file.path)),
        runtimes=(want.place.runtime.name,),
        packages=frozenset(want.packages),
    )

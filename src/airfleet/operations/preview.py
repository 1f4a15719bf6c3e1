"""What an apply would change: the survey of an apply, without its lease and without a change."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from airfleet.operations.session import look_at_all
from airfleet.runners.fleet.apply.removed_hosts import RemovedHosts
from airfleet.runners.fleet.diagnosis import judge_log_retention
from airfleet.runners.fleet.plan.steps import Step
from airfleet.runners.fleet.survey import etcd_members, fleet_spec, own_servers
from airfleet.runners.fleet.survey.host_survey import Survey
from airfleet.workspace import airflow_version, applied_hosts, credentials, primary_record
from airfleet.workspace.diagnosis import Diagnosis
from airfleet.workspace.project import find_state
from airfleet.workspace.rotation import RotationLedger


@dataclass(frozen=True, slots=True)
class Preview:
    """The steps that an apply would take now, the rotations under way, and former logins that are still valid.

    `findings` are about servers that somebody else runs, and about settings that do not fit each other.
    """

    removed: RemovedHosts
    survey: Survey
    rotations: tuple[str, ...]
    former_logins: tuple[str, ...]
    is_rotation_due: bool
    findings: tuple[Diagnosis, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the steps in the order of `apply`: hosts that were removed from fleet.yaml come first."""
        return (*self.removed.steps, *self.survey.steps)

    @property
    def is_empty(self) -> bool:
        """Return whether an apply would change nothing."""
        return not (self.steps or self.former_logins or self.is_rotation_due)


def preview(project: Path, state: Path | None, *, accept_new_hosts: bool, notify: Callable[[str], None]) -> Preview:
    """Survey the fleet.

    Raises:
        AirfleetError: An upgrade or a promotion has started and has not finished.
    """
    spec = fleet_spec.read_spec(project, state, accept_new_hosts=accept_new_hosts)
    folder = find_state(spec.project, state)
    airflow_version.check_settled(folder)
    primary_record.check_settled(folder)
    known = applied_hosts.read(folder.root)
    applied_hosts.check_primary(known, spec.fleet)
    applied_hosts.check_outside(folder.root, spec.fleet)
    with ExitStack() as stack:
        removed, survey = look_at_all(spec, known, stack, notify)
        etcd_members.check_new_voters(spec.fleet, (*survey.views, *removed.views))
        shells = (view.connection for view in survey.views)
        findings = (*own_servers.examine(spec.fleet, spec.credentials, shells), *judge_log_retention(spec.fleet))
    rotations, now = RotationLedger(folder.secrets), time.time()
    former = credentials.describe_former(folder, [pool.name for pool in spec.fleet.pools])
    return Preview(removed, survey, tuple(rotations.describe(now)), tuple(former), rotations.is_due(now), findings)

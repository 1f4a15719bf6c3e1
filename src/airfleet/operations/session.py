"""Exclusive work on one fleet: a lock in the project, the spec of the fleet, its survey, and the lease of apply.

`apply`, `upgrade`, `down`, `db restore` and `failover --database` work through a session. Only a session gives access
to what changes hosts. So no command can forget the lease, or read the spec before other commands are kept out.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.runners.fleet import lease
from airfleet.runners.fleet.apply import removed_hosts
from airfleet.runners.fleet.apply.applier import Applier, StepResult
from airfleet.runners.fleet.apply.removed_hosts import RemovedHosts
from airfleet.runners.fleet.apply.rolling_restart import Rolling
from airfleet.runners.fleet.lease import HeldLease
from airfleet.runners.fleet.survey import fleet_spec, host_survey
from airfleet.runners.fleet.survey.fleet_spec import FleetSpec
from airfleet.runners.fleet.survey.host_survey import HostView, Survey
from airfleet.runners.fleet.transport import database_cluster
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.runners.fleet.transport.shell import HostShell, NamedShell
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host
from airfleet.workspace import airflow_version, applied_hosts, primary_record
from airfleet.workspace.actor import find_actor
from airfleet.workspace.project import find_project, read_fleet
from airfleet.workspace.state_folder import StateFolder


class FleetSession:
    """The work of one command on a fleet. While it is open, no other command of this project changes the fleet."""

    def __init__(
        self,
        project: Path,
        folder: StateFolder,
        stack: ExitStack,
        *,
        token: str,
        notify: Callable[[str], None],
        accept_new_hosts: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`token` identifies this project to the hosts: a command may take over a lease of its own project."""
        self.project = project
        self.folder = folder
        self.notify = notify
        self.clock = clock
        self._stack = stack
        self._token = token
        self._accept_new_hosts = accept_new_hosts
        self._round = stack.enter_context(ExitStack())
        self._spec: FleetSpec | None = None
        self._fleet: Fleet | None = None
        self._lost: threading.Event | None = None

    @property
    def fleet(self) -> Fleet:
        """Return the fleet of fleet.yaml with its present primary. This reads no secret."""
        if self._spec:
            return self._spec.fleet
        if self._fleet is None:
            self._fleet = database_cluster.refresh(read_fleet(self.project), self.folder, self.project)
        return self._fleet

    @property
    def spec(self) -> FleetSpec:
        """Return the spec of the fleet with its secrets. It is read at the first use in each round.

        Raises:
            UsageError: fleet.yaml is wrong, or a secret cannot be fetched.
        """
        if self._spec is None:
            self._spec = fleet_spec.read_spec(self.project, self.folder.root, accept_new_hosts=self._accept_new_hosts)
        return self._spec

    def check_settled(self) -> None:
        """Make sure that no upgrade and no promotion is under way, because other changes would mix with them.

        Raises:
            AirfleetError: One of them has started and has not finished.
        """
        airflow_version.check_settled(self.folder)
        primary_record.check_settled(self.folder)

    def begin_round(self) -> None:
        """Close the connections and the lease of the present round. The next use of `spec` reads it again."""
        self._round.close()
        self._round = self._stack.enter_context(ExitStack())
        self._spec = self._fleet = self._lost = None

    def survey(self, spec: FleetSpec | None = None, *, notify: Callable[[str], None] | None = None) -> Survey:
        """Survey every host, and compute its steps. The connections stay open until the round ends."""
        return host_survey.survey(spec or self.spec, self._round, notify or self.notify)

    def survey_all(self, known: Iterable[Host], *, apart: bool = False) -> tuple[RemovedHosts, Survey]:
        """Survey also those `known` hosts that were removed from fleet.yaml. With `apart`, close the connections."""
        with ExitStack() as own:
            return look_at_all(self.spec, known, own if apart else self._round, self.notify)

    def hold_lease(self, *views: HostView) -> bool:
        """Take the lease on database hosts until the round ends.

        It is taken on all that answer, because any of them may become the primary meanwhile. Return whether no other
        command has held it since the survey.

        Raises:
            AirfleetError: Another command holds the lease.
        """
        held = [self._hold(view.connection).before == view.lease for view in views]
        return all(held)

    def hold_every_lease(self, shells: Mapping[str, HostShell]) -> None:
        """Take the lease of every database host that answers, for a command that makes no survey."""
        for name, shell in shells.items():
            try:
                self._hold(shell)
            except HostError as error:
                self.notify(f"{name}: {error.what}; no lease keeps other commands from changing this host")

    def _hold(self, shell: NamedShell) -> HeldLease:
        self._lost = self._lost or threading.Event()
        return self._round.enter_context(lease.hold(shell, find_actor(), self._token, lost=self._lost))

    @property
    def is_lost(self) -> bool:
        """Return whether a lease was taken and lost."""
        return self._lost is not None and self._lost.is_set()

    def require_lease(self) -> None:
        """Make sure that the lease is held.

        Raises:
            AirfleetError: The lease was lost.
        """
        if self._lost is None or self._lost.is_set():
            hint = "check whether another apply runs, then run the command again"
            raise AirfleetError("the lease was lost", where=self.fleet.primary.name, hint=hint)

    def applier(
        self,
        views: Iterable[HostView],
        *,
        report: Callable[[StepResult], None],
        archives: Mapping[str, Path] | None = None,
        absent: Iterable[str] = (),
        rolling: Rolling | None = None,
    ) -> Applier:
        """Return what carries out the steps of hosts. It starts no step after the lease was lost.

        `absent` are hosts of the fleet that cannot be changed now.

        Raises:
            RuntimeError: No lease was taken.
        """
        if self._lost is None:
            raise RuntimeError("no lease is held")
        return Applier(
            views,
            who=find_actor(),
            archives=archives or {},
            clock=self.clock,
            notify=report,
            lost=self._lost,
            absent=absent,
            rolling=rolling,
        )

    def open_shells(self, hosts: Iterable[Host]) -> dict[str, HostShell]:
        """Open a shell on each host. The session closes them."""
        shells = {host.name: HostShell(host, self.project) for host in hosts}
        for shell in shells.values():
            self._stack.callback(shell.close)
        return shells

    def make_folder(self) -> Path:
        """Create a temporary folder on this machine. It is deleted when the round ends."""
        return Path(self._round.enter_context(tempfile.TemporaryDirectory(prefix="airfleet-")))


@contextmanager
def open_session(
    project: Path,
    state: Path | None,
    *,
    notify: Callable[[str], None],
    accept_new_hosts: bool = False,
) -> Iterator[FleetSession]:
    """Open a session, which keeps other commands of this project from changing the fleet.

    Raises:
        AirfleetError: Another command of this project changes the fleet, or fleet.yaml names no hosts.
    """
    folder = fleet_spec.open_folder(project, state)
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    with ExitStack() as stack:
        token = stack.enter_context(lease.claim(folder.root, find_actor(), since))
        yield FleetSession(
            find_project(project), folder, stack, token=token, notify=notify, accept_new_hosts=accept_new_hosts
        )


def look_at_all(
    spec: FleetSpec, known: Iterable[Host], stack: ExitStack, notify: Callable[[str], None]
) -> tuple[RemovedHosts, Survey]:
    """Survey the `known` hosts that were removed from fleet.yaml, and all hosts that it names."""
    removed = removed_hosts.look(spec, applied_hosts.find_gone(known, spec.fleet), stack)
    return removed, host_survey.survey(replace(spec, leaving=removed.draining), stack, notify)

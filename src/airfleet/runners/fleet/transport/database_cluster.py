"""Which database host is the primary, and how the others stand, as Patroni on the hosts says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from airfleet.components.postgresql import patroni
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.runners.fleet.transport.shell import HostShell, Shell
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host, Promoted
from airfleet.workspace import applied_hosts, primary_record
from airfleet.workspace.state_folder import StateFolder

ASK_S = 15
RUNNING = frozenset({"running", "streaming"})


@dataclass(frozen=True, slots=True)
class Member:
    """One database host as Patroni knows it; `lag` is in bytes behind the primary, and None where nobody can tell."""

    name: str
    address: str
    role: str
    state: str
    timeline: int | None = None
    lag: int | None = None

    @property
    def is_leader(self) -> bool:
        """Whether it takes writes."""
        return self.role in ("leader", "master", "primary")

    @property
    def is_standby(self) -> bool:
        """Whether each commit waits for it."""
        return self.role == "sync_standby"

    @property
    def is_running(self) -> bool:
        """Whether its server runs."""
        return self.state in RUNNING


@dataclass(frozen=True, slots=True)
class DatabaseCluster:
    """All database hosts at one moment."""

    members: tuple[Member, ...]

    @property
    def leader(self) -> Member | None:
        """The host that takes writes; none while nobody does."""
        return next((one for one in self.members if one.is_leader), None)

    def find(self, name: str) -> Member | None:
        """The member of this name."""
        return next((one for one in self.members if one.name == name), None)


def build_question() -> str:
    """The command whose answer `parse` reads."""
    return patroni.ask("cluster")


def parse(text: str) -> DatabaseCluster:
    """What Patroni said; raises AirfleetError where it is nothing that is known."""
    try:
        body = json.loads(text)
        return DatabaseCluster(tuple(map(_parse_member, body["members"])))
    except (ValueError, KeyError, TypeError) as error:
        raise AirfleetError(f"Patroni says nothing that is known: {text.strip()[:80]!r}") from error


def _parse_member(body: dict[str, Any]) -> Member:
    lag = body.get("lag")
    return Member(
        name=body["name"],
        address=body.get("host", ""),
        role=body["role"],
        state=body["state"],
        timeline=body.get("timeline"),
        lag=lag if isinstance(lag, int) else None,
    )


def ask(shell: Shell) -> DatabaseCluster | None:
    """What Patroni of one host says; None where it does not answer."""
    try:
        done = shell.run(build_question(), timeout_s=ASK_S)
        return parse(done.out) if done.code == 0 else None
    except AirfleetError:
        return None


def look(shells: Iterable[Shell]) -> DatabaseCluster | None:
    """What the first host says that answers and knows a primary, else any that answers; None where none does."""
    listed = tuple(shells)
    found: DatabaseCluster | None = None
    if not listed:
        return None
    pool = ThreadPoolExecutor(len(listed))
    try:
        for future in as_completed([pool.submit(ask, shell) for shell in listed]):
            said = future.result()
            if said and said.leader:
                return said
            found = found or said
    finally:
        # A host that is away may take long to be found so.
        pool.shutdown(wait=False)
    return found


def refresh(fleet: Fleet, folder: StateFolder, project: Path) -> Fleet:
    """The fleet with the primary that it has now, which is written down for when no host answers.

    Hosts that were never given the role are not asked, and none is asked where there was one database host. The primary
    may be a host that fleet.yaml has no more. `is_led` of the answer says whether Patroni has answered now.
    """
    known = [host for host in applied_hosts.read(folder.root) if "database" in host.roles]
    there = {host.address for host in known}
    hosts = [host for host in fleet.with_role("database") if host.address in there]
    is_led = False
    if len(known) > 1 and hosts:
        with ExitStack() as stack:
            shells = [HostShell(host, project) for host in hosts]
            for shell in shells:
                stack.callback(_close, shell)
            found = look(shells)
        if (leader := found and found.leader) and (host := find_host((*hosts, *known), leader)):
            primary_record.write(folder, Promoted(host.name, is_led=True))
            is_led = True
    seen = primary_record.apply_to(fleet, folder)
    return replace(seen, promoted=replace(seen.promoted, is_led=is_led))


def _close(shell: HostShell) -> None:
    with suppress(HostError):
        shell.close()


def find_host(hosts: Iterable[Host], member: Member) -> Host | None:
    """The host of fleet.yaml that a member is: its address is the same, also where it was renamed."""
    listed = tuple(hosts)
    by_name = [host for host in listed if host.name == member.name]
    return next((host for host in (*by_name, *listed) if host.address == member.address), None)

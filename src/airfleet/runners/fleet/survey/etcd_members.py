"""The members of etcd, as its voters list them, and what fleet.yaml may change of them at once.

One voter in place of another leaves a majority of three. Two at once do not: etcd would never let a new one in again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from airfleet.components.etcd import server as etcd
from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.fleet.plan.diff import RUNNING
from airfleet.runners.fleet.plan.steps import RemoveService
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.spec.fleet import Fleet

MOST_NEW = 1
ASK_S = 30


def find(views: Iterable[HostView]) -> frozenset[str]:
    """Return the URLs of the members of etcd, from the first host whose etcd or whose peers list them; or none."""
    for view in views:
        if not _runs_etcd(view):
            continue
        try:
            said = view.connection.run(etcd.list_members(view.desired.place), timeout_s=ASK_S).out
        except AirfleetError:
            continue
        urls = {url for line in said.splitlines() for url in line.split()[1:]}
        if urls:
            return frozenset(urls)
    return frozenset()


def check_new_voters(fleet: Fleet, views: Sequence[HostView]) -> None:
    """Make sure that at most one voter takes the place of another. `views` may have hosts that leave the fleet.

    Where nobody leaves, several may join: at the first apply, and to a voter that is left alone.

    Raises:
        UsageError: Two voters or more are new.
    """
    at_work = {view.desired.place.host.name for view in views if _runs_etcd(view)}
    if not at_work or len([host for host in fleet.voters if host.name not in at_work]) <= MOST_NEW:
        return
    members = find(views)
    wanted = {etcd.name_member(host): host.name for host in fleet.voters}
    new = [name for url, name in wanted.items() if url not in members]
    if members - wanted.keys() and len(new) > MOST_NEW:
        now = ", ".join(sorted(_name(url, views) for url in members))
        raise UsageError(
            f"{' and '.join(new)} would both vote on the primary database for the first time, and etcd of the"
            f" fleet ({now}) would lose its majority",
            where="fleet.yaml: hosts",
            hint="change one of these hosts, apply, then change the next; a host that left may come back meanwhile",
        )


def find_still_voting(leaving: Sequence[HostView], views: Iterable[HostView]) -> tuple[AirfleetError, ...]:
    """Return an error for each host whose etcd is to be removed, and which the others still have as a member."""
    removing = [view for view in leaving if any(_removes_etcd(view))]
    if not removing or not removing[0].desired.place.fleet.voters:
        return ()
    members = find(views)
    return tuple(
        AirfleetError(
            "its etcd still votes on the primary database, so it runs on",
            where=view.desired.place.host.name,
            hint="another voter takes its place first: airfleet status shows which hosts do not answer; apply again",
        )
        for view in removing
        if not members or etcd.name_member(view.desired.place.host) in members
    )


def _runs_etcd(view: HostView) -> bool:
    fact = view.facts.units.get(etcd.UNIT)
    return fact is not None and fact.active in RUNNING


def _removes_etcd(view: HostView) -> Iterable[bool]:
    return (isinstance(step.action, RemoveService) and step.action.unit == etcd.UNIT for step in view.steps)


def _name(url: str, views: Iterable[HostView]) -> str:
    hosts = (view.desired.place.host for view in views)
    return next((host.name for host in hosts if etcd.name_member(host) == url), url)

"""One voter is exchanged at a time, and one that goes votes until another has its place."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airfleet.components.etcd import server as etcd
from airfleet.components.host_model import Stage
from airfleet.errors import UsageError
from airfleet.operations.apply import Apply, PackageSource
from airfleet.runners.fleet.apply import removed_hosts
from airfleet.runners.fleet.apply.removed_hosts import RemovedHosts
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import diff, waves
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.plan.steps import Bring, Step
from airfleet.runners.fleet.survey import etcd_members
from airfleet.runners.fleet.survey.host_survey import HostView, Survey
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host
from converged_hosts import converged
from places import desired, parse
from shells import MadeUpConnection

HOSTS = {
    "db1": "{address: 10.0.0.1, roles: [database, broker]}",
    "db2": "{address: 10.0.0.2, roles: [database]}",
    "app1": "{address: 10.0.0.3, roles: [web, scheduler, worker]}",
    "edge1": "{address: 10.0.0.4, roles: [balancer]}",
    "edge2": "{address: 10.0.0.5, roles: [balancer]}",
    "db3": "{address: 10.0.0.6, roles: [database]}",
    "db4": "{address: 10.0.0.7, roles: [database]}",
}

NOW = ("db1", "db2", "app1", "edge1")
VOTERS = ("db1", "db2", "edge1")


def write(*names: str) -> str:
    return "hosts:\n" + "".join(f"  {name}: {HOSTS[name]}\n" for name in names)


def address(name: str) -> str:
    return HOSTS[name].partition("address: ")[2].partition(",")[0]


def list_members(*names: str) -> str:
    """Return what a host with etcd prints where these hosts are members."""
    return " ".join(["10.0.0.1:2380", *(f"https://{address(name)}:2380" for name in names)]) + "\n"


def see(name: str, text: str, facts: HostFacts, members: str) -> HostView:
    """Return a host as an apply of the fleet.yaml `text` sees it."""
    fleet = parse(text)
    if name in {host.name for host in fleet.hosts}:
        want = desired(name, text)
        steps = diff.decide(want, facts)
    else:
        any_place = desired("db1", text).place
        want = diff.DesiredHost(replace(any_place, host=Host(name, address(name), ())), ())
        steps = tuple(removed_hosts.decide(want, facts))
    connection: Any = MadeUpConnection(answer=lambda _: members)
    return HostView(connection, want, facts, steps, airflow_archive.Recipe("3.11", "x86_64", "", "", ()))


def see_all(before: tuple[str, ...], after: tuple[str, ...], members: str) -> tuple[Fleet, tuple[HostView, ...]]:
    """Return the fleet of `after`, whose hosts are still as an apply of `before` left them."""
    text = write(*after)
    facts = {name: converged(desired(name, write(*before))) for name in before}
    seen = partial(see, text=text, members=members)
    names = dict.fromkeys((*after, *before))
    return parse(text), tuple(seen(name, facts=facts.get(name, HostFacts())) for name in names)


@pytest.mark.parametrize(
    ("after", "new"),
    [
        (("db1", "db3", "db4", "app1"), "db3 and db4"),
        (("db1", "db3", "app1", "edge2"), "db3 and edge2"),
    ],
)
def test_two_new_voters_at_once_are_refused(after: tuple[str, ...], new: str) -> None:
    fleet, views = see_all(NOW, after, list_members(*VOTERS))
    with pytest.raises(UsageError, match=new) as refusal:
        etcd_members.check_new_voters(fleet, views)
    assert "db1, db2, edge1" in refusal.value.what
    assert "apply, then change the next" in refusal.value.hint


@pytest.mark.parametrize(
    "after", [NOW, (*NOW, "db3"), ("db1", "db3", "app1", "edge1"), ("db1", "db2", "app1", "edge2")]
)
def test_one_new_voter_is_not(after: tuple[str, ...]) -> None:
    fleet, views = see_all(NOW, after, list_members(*VOTERS))
    etcd_members.check_new_voters(fleet, views)


def test_the_first_voters_all_start_together_also_after_an_apply_that_started_one() -> None:
    text = write(*NOW)
    started = converged(desired("db1", text))
    views = [see(name, text, started if name == "db1" else HostFacts(), list_members(*VOTERS)) for name in NOW]
    etcd_members.check_new_voters(parse(text), views)
    etcd_members.check_new_voters(parse(text), [see(name, text, HostFacts(), "") for name in NOW])


def find_stages(view: HostView, word: str) -> set[Stage]:
    return {step.stage for step in view.steps if word in step.what}


@pytest.mark.parametrize("after", [(*NOW, "db3"), ("db1", "db2", "app1", "edge2")], ids=["a role", "the fleet"])
def test_etcd_of_a_host_that_loses_its_vote_is_removed_after_everything_else(after: tuple[str, ...]) -> None:
    _, views = see_all(NOW, after, list_members(*VOTERS))
    [former] = [view for view in views if view.desired.place.host.name == "edge1"]
    assert find_stages(former, etcd.UNIT) == {Stage.CLEANUP}
    assert find_stages(former, "/etc/airfleet/etcd/") == {Stage.CLEANUP}, "it reads its certificate until the end"
    assert etcd_members.find_still_voting([former], views), "nobody has taken its place"
    answer = see("db1", write(*after), HostFacts(), list_members("db1", "db2", "db3")).connection
    left = [replace(view, connection=answer) for view in views]
    assert etcd_members.find_still_voting([former], left) == ()


def test_with_one_database_host_left_nobody_votes_and_nothing_is_waited_for() -> None:
    _, views = see_all(NOW, ("db1", "app1", "edge1"), list_members(*VOTERS))
    [former] = [view for view in views if view.desired.place.host.name == "edge1"]
    assert find_stages(former, etcd.UNIT) == {Stage.BASE}


def test_a_role_that_comes_back_does_its_jobs_again() -> None:
    """A former database host has old data: whether Patroni may start on it is looked at anew."""
    with_role = converged(desired("db2", write(*NOW)))
    assert "postgresql-adopt" in with_role.jobs
    text = write("db1", "db3", "app1", "edge1") + "  db2: {address: 10.0.0.2, roles: [balancer]}\n"
    steps = diff.decide(desired("db2", text), with_role)
    forgotten = {step.what for step in steps if step.what.startswith("forget the job")}
    assert {"forget the job postgresql-adopt"} <= forgotten
    same = diff.decide(desired("db1", write(*NOW)), converged(desired("db1", write(*NOW))))
    assert not [step for step in same if step.what.startswith("forget")]


def test_a_voter_that_restarts_finds_those_that_do_not_run_yet() -> None:
    """After an apply that was killed: one of three voters runs, and has no majority."""
    _, views = see_all(NOW, NOW, "")
    work: list[tuple[Any, list[Step]]] = []
    for view in views:
        own = [step for step in diff.decide(view.desired, HostFacts()) if step.stage == Stage.CONSENSUS]
        if view.desired.place.host.name == "db1":
            own = [
                replace(step, action=replace(step.action, how="restart")) if isinstance(step.action, Bring) else step
                for step in own
            ]
        if own:
            work.append((view, own))
    made = waves.make_waves(Stage.CONSENSUS, work)
    assert [{item[0].desired.place.host.name for item in wave} for wave in made] == [{"db2", "edge1"}, {"db1"}]


class SurveyedSession:
    """The session of an apply whose survey found these hosts."""

    def __init__(self, fleet: Fleet, views: tuple[HostView, ...], state: Path) -> None:
        self.spec = SimpleNamespace(fleet=fleet)
        self.folder = SimpleNamespace(root=state)
        self._views = views

    def survey_all(self, _: object) -> tuple[RemovedHosts, Survey]:
        return RemovedHosts(), Survey(self._views, ())


def test_an_apply_refuses_before_its_first_change(tmp_path: Path) -> None:
    fleet, views = see_all(NOW, ("db1", "db3", "db4", "app1"), list_members(*VOTERS))
    session: Any = SurveyedSession(fleet, views, tmp_path)
    apply = Apply(session, (), source=PackageSource(is_offline=False), report=lambda _: None)
    with pytest.raises(UsageError, match="db3 and db4"):
        apply.see_hosts()
    assert not [what for view in views for what in view.connection.done]  # type: ignore[attr-defined]

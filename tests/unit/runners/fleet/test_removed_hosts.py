"""Hosts removed from fleet.yaml are remembered, stopped, and cleared after their tasks have ended."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.fleet.apply import removed_hosts
from airfleet.runners.fleet.apply.applier import Applier
from airfleet.runners.fleet.apply.removed_hosts import RemovedHosts
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import diff
from airfleet.runners.fleet.plan.facts import HostFacts, UnitFact
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.spec.topology import Promoted
from airfleet.workspace import applied_hosts
from clocks import MadeUpClock
from converged_hosts import converged
from own_servers import OUTSIDE
from places import NINE, config_path, desired, parse
from shells import MadeUpConnection

FLEET = parse()


def removed_host(name: str, found: HostFacts | None = None) -> HostView:
    want = desired(name)
    bare = diff.DesiredHost(replace(want.place, host=replace(want.place.host, pools=())), ())
    found = found or converged(want)
    connection: Any = MadeUpConnection()
    steps = tuple(removed_hosts.decide(bare, found))
    return HostView(connection, bare, found, steps, airflow_archive.Recipe("3.11", "x86_64", "", "", ()))


def see_off(view: HostView) -> None:
    removed_hosts.drain_and_clear(
        [view],
        lambda views: Applier(
            views,
            who="me@here",
            archives={},
            clock=MadeUpClock(reading_s=1.0),
            notify=lambda _: None,
            lost=threading.Event(),
        ),
    )


def test_everything_of_airfleet_goes_and_the_workers_first() -> None:
    view = removed_host("io1")
    what = [step.what for step in view.steps]
    assert what[0].startswith("stop and remove airfleet-worker-")
    assert "stop and remove airfleet-proxy.service" in what
    assert f"remove {config_path('worker')}" in what
    assert "remove /etc/tmpfiles.d/airfleet.conf" in what
    assert f"remove {view.desired.place.runtime}" in what


def test_a_host_that_has_nothing_of_airfleet_needs_nothing() -> None:
    assert removed_host("io1", HostFacts()).steps == ()


def test_while_a_task_runs_there_nothing_is_taken_from_under_it() -> None:
    view = removed_host("io1")
    connection: Any = view.connection
    connection.perform = lambda what: "draining\n" if "airfleet-worker-" in what else ""
    see_off(view)
    assert connection.done
    assert all(what.startswith("stop and remove airfleet-worker-") for what in connection.done)
    connection.perform = lambda _: ""
    see_off(view)
    assert "stop and remove airfleet-proxy.service" in connection.done


def test_a_host_whose_worker_drains_keeps_what_the_fleet_lets_workers_reach() -> None:
    busy = HostFacts(units={"airfleet-worker-io.service": UnitFact("deactivating", "disabled")})
    assert [host.name for host in RemovedHosts((removed_host("io1", busy),)).draining] == ["io1"]
    assert RemovedHosts((removed_host("io1"),)).draining == ()


def test_the_roster_knows_who_left_and_takes_a_new_name_for_no_new_host(tmp_path: Path) -> None:
    assert applied_hosts.read(tmp_path) == ()
    applied_hosts.write(tmp_path, FLEET.hosts)
    known = applied_hosts.read(tmp_path)
    assert [host.name for host in known] == [host.name for host in FLEET.hosts]
    renamed = parse(NINE.replace("io1:", "disk1:"))
    assert applied_hosts.find_gone(known, renamed) == ()
    smaller = replace(FLEET, hosts=tuple(host for host in FLEET.hosts if host.name != "web3"))
    assert [host.name for host in applied_hosts.find_gone(known, smaller)] == ["web3"]


def test_a_torn_roster_is_told(tmp_path: Path) -> None:
    (tmp_path / applied_hosts.NAME).write_text("[{")
    with pytest.raises(AirfleetError, match="cannot be read"):
        applied_hosts.read(tmp_path)


def test_the_database_does_not_move_to_an_empty_host_unseen() -> None:
    moved = replace(
        FLEET,
        hosts=tuple(
            replace(host, roles=("database", *host.roles)) if host.name == "web1" else host for host in FLEET.hosts
        ),
    )
    with pytest.raises(UsageError, match=r"web1 \(\S+\) would start an empty database; the data is on data1"):
        applied_hosts.check_primary(FLEET.hosts, moved)
    applied_hosts.check_primary(FLEET.hosts, FLEET)
    applied_hosts.check_primary((), moved)
    # With the host of the data forgotten, as the hint says.
    applied_hosts.check_primary([host for host in FLEET.hosts if host.name != "data1"], moved)


def test_the_tables_do_not_change_between_a_database_host_and_a_server_of_somebody_else_unseen(tmp_path: Path) -> None:
    outside = parse(OUTSIDE)
    with pytest.raises(UsageError, match=r"the tables are on data1 .*, and `database` names another") as refusal:
        applied_hosts.check_primary(FLEET.hosts, outside)
    assert "airfleet apply --forget data1" in refusal.value.hint
    applied_hosts.check_outside(tmp_path, FLEET)
    applied_hosts.note_outside(tmp_path, FLEET)
    applied_hosts.check_outside(tmp_path, FLEET)
    applied_hosts.note_outside(tmp_path, outside)
    applied_hosts.check_outside(tmp_path, outside)
    with pytest.raises(UsageError, match="data1 would start an empty database") as refusal:
        applied_hosts.check_outside(tmp_path, FLEET)
    assert str(tmp_path) in refusal.value.hint


def test_a_promoted_replica_is_where_the_data_is() -> None:
    hosts = tuple(
        replace(host, roles=("database", *host.roles)) if host.name == "sched1" else host for host in FLEET.hosts
    )
    fleet = replace(FLEET, hosts=hosts, promoted=Promoted("data1", is_led=True))
    applied_hosts.check_primary(hosts, fleet)
    without = replace(fleet, hosts=tuple(host for host in hosts if host.name != "data1"))
    with pytest.raises(UsageError, match=r"data1 .* is the primary of the database, and would leave") as refusal:
        applied_hosts.check_primary(hosts, without)
    assert "failover --database --to sched1" in refusal.value.hint

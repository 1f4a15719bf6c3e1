"""Upgrades: the chosen move, the order of its steps, its messages, and its scripts in a shell."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from packaging.version import Version

from airfleet.components.host_model import Stage
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.backup.catalogue import Backup
from airfleet.operations.backup.pgbackrest import repository
from airfleet.operations.session import FleetSession
from airfleet.operations.upgrade import move, schema
from airfleet.operations.upgrade.move import VersionMove
from airfleet.operations.upgrade.run import Upgrade
from airfleet.runners.fleet import lease
from airfleet.runners.fleet.apply import airflow_archives
from airfleet.runners.fleet.apply.rolling_restart import look_behind
from airfleet.runners.fleet.lease import HeldLease
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import diff
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.plan.steps import Bring, Step, Unpack
from airfleet.runners.fleet.survey import fleet_spec, host_survey
from airfleet.runners.fleet.survey.fleet_spec import FleetSpec
from airfleet.runners.fleet.survey.host_survey import HostView, Survey
from airfleet.workspace import airflow_version
from airfleet.workspace.airflow_version import Running
from airfleet.workspace.state_folder import StateFolder
from places import desired, parse
from shells import MadeUpConnection, name_host

KNOWN = ("3.3.0", "3.3.1", "3.3.2", "3.3.10")


@pytest.mark.parametrize(
    ("running", "to", "back", "wanted"),
    [
        (Running("3.3.1"), None, False, VersionMove("3.3.1", "3.3.10")),
        (Running("3.3.10"), None, False, None),
        (Running("3.3.1"), "3.3.2", False, VersionMove("3.3.1", "3.3.2")),
        (Running("3.3.10"), None, True, VersionMove("3.3.10", "3.3.2")),
        (Running("3.3.2", before="3.3.0"), None, True, VersionMove("3.3.2", "3.3.0")),
        (Running("3.3.1", before="3.3.2"), None, True, VersionMove("3.3.1", "3.3.0")),
        (Running("3.3.1", target="3.3.2", backup="b"), None, False, VersionMove("3.3.1", "3.3.2", True, "b")),
        (Running("3.3.1", target="3.3.2", backup="b"), "3.3.2", False, VersionMove("3.3.1", "3.3.2", True, "b")),
        (Running("3.3.1", target="3.3.2", backup="b"), None, True, VersionMove("3.3.2", "3.3.1", True)),
        (Running("3.3.1", target="3.3.2", backup="b"), "3.3.1", False, VersionMove("3.3.2", "3.3.1", True)),
    ],
)
def test_a_move_is_chosen_from_what_runs_and_what_is_asked(
    running: Running, to: str | None, back: bool, wanted: VersionMove | None
) -> None:
    assert move.choose(running, KNOWN, to=to, back=back) == wanted


@pytest.mark.parametrize(
    ("running", "to", "back"),
    [
        (Running("3.3.1"), "3.9.9", False),
        (Running("3.3.0"), None, True),
        (Running("3.3.1", target="3.3.2"), "3.3.0", False),
    ],
)
def test_a_move_that_cannot_be_is_refused_with_a_reason(running: Running, to: str | None, back: bool) -> None:
    with pytest.raises(UsageError):
        move.choose(running, KNOWN, to=to, back=back)


def test_a_move_that_is_taken_back_and_cut_off_again_goes_on_back() -> None:
    there = VersionMove("3.3.1", "3.3.2", backup="b")
    undone = move.choose(there.begun, KNOWN, to=None, back=True)
    assert undone is not None
    again = move.choose(undone.begun, KNOWN, to=None, back=False)
    assert again is not None
    assert (again.after, again.is_back, again.done.version, again.done.target) == ("3.3.1", True, "3.3.1", "")


def test_workers_come_last_and_on_the_way_back_first() -> None:
    there = move.describe(VersionMove("3.3.1", "3.3.2"), parse(), drain_s=900)
    back = move.describe(VersionMove("3.3.2", "3.3.1"), parse(), drain_s=900)

    def position(lines: tuple[str, ...], word: str) -> int:
        return next(number for number, line in enumerate(lines) if line.startswith(word))

    assert position(there, "web hosts") < position(there, "schedulers") < position(there, "workers")
    assert position(back, "workers") < position(back, "web hosts")
    assert "cpu1, memory1, io1" in there[position(there, "workers")]
    assert "flights: Airflow 3.3.1 to 3.3.2" in there[0]


def test_on_the_way_back_workers_change_alone_and_packages_before_all() -> None:
    steps = diff.decide(desired("cpu1"), HostFacts())
    assert [type(step.action) for step in move.take_unpacking(steps)] == [Unpack]
    chosen = move.take_workers(steps)
    brought = {
        step.action.service.name for step in chosen if isinstance(step.action, Bring) and step.stage != Stage.BASE
    }
    assert brought == {"worker-default", "worker-cpu"}
    assert not move.take_workers(diff.decide(desired("web2"), HostFacts()))[-1].stage > Stage.BASE


def test_the_locks_are_known_oldest_first_and_the_newest_is_what_a_new_fleet_runs(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    known = [*airflow_version.find_locks()]
    assert known == sorted(known, key=Version)
    assert "3.3.1" in known
    assert airflow_version.read(folder) == Running(known[-1])
    with pytest.raises(AirfleetError, match=r"not 3\.3\.99"):
        airflow_version.find_lock("3.3.99")


def test_every_lock_pins_the_airflow_that_it_is_named_after() -> None:
    for version, path in airflow_version.find_locks().items():
        assert f"\napache-airflow=={version} " in path.read_text()


def test_what_a_fleet_runs_is_kept_once_and_a_move_keeps_others_out(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    airflow_version.write(folder, Running("3.3.1"))
    airflow_version.keep(folder)
    assert airflow_version.read(folder) == Running("3.3.1")
    airflow_version.check_settled(folder)
    airflow_version.write(folder, VersionMove("3.3.1", "3.3.2", backup="b").begun)
    with pytest.raises(AirfleetError, match=r"moving from Airflow 3\.3\.1 to 3\.3\.2"):
        airflow_version.check_settled(folder)


def test_the_schema_goes_back_only_where_it_is_ahead() -> None:
    there = schema.parse("alembic_version aaa\nalembic_version_fab fff\nsome noise\n")
    assert len(there) == 2
    assert schema.list_downgrades(there, there) == ()
    wanted = schema.parse("alembic_version older\nalembic_version_fab fff\n")
    assert schema.list_downgrades(there, wanted) == (("db", "downgrade", "--to-revision", "older", "--yes"),)


@pytest.mark.parametrize("text", [schema.ask_current(), schema.ask_wanted(Path("/opt/x"))])
def test_the_scripts_are_what_a_shell_takes(text: str) -> None:
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


def test_a_worker_is_behind_until_it_runs_from_what_its_unit_says() -> None:
    services = [service for service in desired("cpu1").services if service.drains]
    done = subprocess.run(["bash", "-c", look_behind(services)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["worker-default", "worker-cpu"]


class Fleet:
    """Records the actions of an upgrade in order. `schema` is the present version of the schema."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        *,
        schema: str,
        cut: str = "",
        fails: str = "",
        moves_to: str = "",
    ) -> None:
        self.did: list[str] = []
        self.fails, self.moves_to = fails, moves_to
        self.folder, self.schema, self.cut = StateFolder(tmp_path), schema, cut
        views = [
            HostView(
                self.connect(name),
                desired(name),
                HostFacts(),
                (),
                airflow_archive.Recipe("", "", "", "", ()),
            )
            for name in ("web1", "sched1", "cpu1", "data1")
        ]
        spec = FleetSpec(parse(), Path(), cast(Any, None), cast(Any, None), cast(Any, None), "3.3.1")
        monkeypatch.setattr(fleet_spec, "read_spec", lambda *_, **__: spec)
        monkeypatch.setattr(host_survey, "survey", lambda spec, *_: Survey(tuple(views), ()))
        monkeypatch.setattr(host_survey, "read_recipe", lambda *_: views[0].recipe)
        monkeypatch.setattr(airflow_archives, "build", lambda *_: {})
        monkeypatch.setattr(lease, "hold", lambda *_, **__: nullcontext(HeldLease(threading.Event(), "")))
        monkeypatch.setattr(Upgrade, "_apply", self._apply)
        monkeypatch.setattr(repository, "take", self._take)
        self.survey = Survey(tuple(views), ())

    def _apply(self, _: object, __: object, choose: Callable[[Sequence[Step]], Iterable[Step]]) -> None:
        """Record the kinds of the chosen steps."""
        chosen = [step for view in self.survey.views for step in choose(diff.decide(view.desired, HostFacts()))]
        later = [step.action for step in chosen if step.stage != Stage.BASE]
        started = {action.service.name for action in later if isinstance(action, Bring)}
        if chosen and all(isinstance(step.action, Unpack) for step in chosen):
            self.note("unpack")
        elif started and all(name.startswith("worker-") for name in started):
            self.note("workers")
        else:
            assert {"api-server", "scheduler", "worker-cpu"} <= started
            self.note("all")

    def _take(self, *_: object) -> Backup:
        self.note("backup")
        now = datetime(2026, 11, 24, tzinfo=UTC)
        return Backup("20261124-220000F", now, now, "1", 0, "15")

    def note(self, what: str) -> None:
        if what == self.cut:
            raise KeyboardInterrupt
        if what == self.fails:
            self.schema = self.moves_to or self.schema
            raise AirfleetError("the upgrade stopped half-way")
        self.did.append(what)

    def connect(self, name: str) -> Any:  # noqa: ANN401 - a connection as far as it is used here
        """Return a connection to a host whose packages need the schema `wanted`."""

        def perform(what: str) -> str:
            if what == "checking the schema":
                return f"alembic_version {self.schema}"
            if "new packages" in what:
                return "alembic_version wanted"
            if what != "checking the workers":
                self.note(f"{what} on {name}")
            return ""

        return MadeUpConnection(host=name_host(name), perform=perform)

    def go(self, wanted: VersionMove) -> None:
        with ExitStack() as stack:
            session = FleetSession(Path(), self.folder, stack, token="t", notify=lambda _: None)
            Upgrade(session, drain_s=1, report=lambda _: None).run(wanted, self.survey)


PAUSE = [f"stopping what works on the schema on {name}" for name in ("web1", "sched1")]


@pytest.mark.parametrize(
    ("wanted", "schema", "order"),
    [
        (VersionMove("3.3.1", "3.3.2"), "wanted", ["unpack", "backup", "all"]),
        (VersionMove("3.3.1", "3.3.2"), "other", ["unpack", "backup", *PAUSE, "all"]),
        (VersionMove("3.3.1", "3.3.2", is_begun=True, backup="b"), "wanted", ["unpack", "all"]),
        (VersionMove("3.3.2", "3.3.1"), "wanted", ["unpack", "backup", "workers", "all"]),
        (
            VersionMove("3.3.2", "3.3.1"),
            "other",
            ["unpack", "backup", "workers", *PAUSE, "the job schema-back on sched1", "all"],
        ),
    ],
)
def test_a_move_does_its_parts_in_an_order_that_ends_no_task(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: VersionMove, schema: str, order: list[str]
) -> None:
    fleet = Fleet(monkeypatch, tmp_path, schema=schema)
    fleet.go(wanted)
    assert fleet.did == order
    assert (airflow_version.read(fleet.folder).version, airflow_version.read(fleet.folder).target) == (wanted.after, "")


@pytest.mark.parametrize(("cut", "target"), [("unpack", ""), ("backup", ""), (PAUSE[0], "3.3.2"), ("all", "3.3.2")])
def test_a_move_that_is_cut_off_is_known_once_anybody_could_notice_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cut: str, target: str
) -> None:
    airflow_version.write(StateFolder(tmp_path), Running("3.3.1"))
    with pytest.raises(KeyboardInterrupt):
        Fleet(monkeypatch, tmp_path, schema="other", cut=cut).go(VersionMove("3.3.1", "3.3.2"))
    kept = airflow_version.read(StateFolder(tmp_path))
    assert (kept.version, kept.target, bool(kept.backup)) == ("3.3.1", target, bool(target))


STARTED = [f"starting it again on {name}" for name in ("web1", "sched1")]


@pytest.mark.parametrize(
    ("fails", "moves_to", "state", "started"),
    [
        ("backup", "", "the fleet keeps working", False),
        (PAUSE[1], "", "the schema has not moved, and the fleet keeps working as before", True),
        ("all", "", "the schema has not moved, and the fleet keeps working as before", True),
        ("all", "wanted", "schedulers and api-servers are stopped, and tasks wait until the upgrade continues", False),
    ],
)
def test_a_move_that_fails_starts_what_it_stopped_where_that_can_work_and_says_how_it_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: str, moves_to: str, state: str, started: bool
) -> None:
    fleet = Fleet(monkeypatch, tmp_path, schema="other", fails=fails, moves_to=moves_to)
    with pytest.raises(AirfleetError, match=state):
        fleet.go(VersionMove("3.3.1", "3.3.2"))
    assert [one for one in fleet.did if one in STARTED] == (STARTED if started else [])


def test_the_oldest_version_says_what_to_do_to_go_further_back() -> None:
    with pytest.raises(UsageError) as error:
        move.choose(Running("3.3.1"), ["3.3.1", "3.3.2"], to=None, back=True)
    assert "restore a backup" in error.value.hint


@pytest.mark.parametrize(
    ("missing", "current", "wanted", "what"),
    [
        ((), "a1", "a1", ""),
        (("xcom", "dag"), "", "", "tables are missing: dag, xcom"),
        (("a", "b", "c", "d"), "", "", "tables are missing: a, b, c and 1 more"),
        ((), "a1", "b2", "it is at a1, and Airflow needs b2"),
        ((), "", "b2", "it is at nothing, and Airflow needs b2"),
    ],
)
def test_what_is_wrong_with_the_schema_is_told(missing: tuple[str, ...], current: str, wanted: str, what: str) -> None:
    def chain(name: str) -> list[schema.Revision]:
        return [schema.Revision("alembic_version", name)] if name else []

    assert schema.explain(missing, chain(current), chain(wanted)) == what

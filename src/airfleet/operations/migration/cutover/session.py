"""Move Dags to this platform, and back. Each step may be repeated, so an interrupted command goes on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.migration.cutover import journal
from airfleet.operations.migration.cutover.journal import CutoverPhase, DagRecord
from airfleet.operations.migration.cutover.platform import CutoverSide, DagState, EndedRun
from airfleet.operations.migration.text import make_printable
from airfleet.workspace import file_lock

PAUSE_S = 2.0
ENDED = ("success", "failed")
# What Airflow 3 accepts from those who trigger runs, if nothing else is set: `scheduler.allowed_run_id_pattern`.
RUN_ID = re.compile(r"[A-Za-z0-9_.~:+-]+")


@dataclass(frozen=True)
class Cutover:
    """The two platforms. `clock` counts seconds, `sleep` waits for some. A wait for runs ends after `patience_s`."""

    old: CutoverSide
    new: CutoverSide
    state: Path
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    tell: Callable[[str], None]
    patience_s: float = 3600.0

    def move(self, dags: Sequence[str]) -> None:
        """Move Dags to this platform. Nothing is done before all of them may be moved.

        Raises:
            UsageError: A Dag may not be moved, or not without others.
            AirfleetError: A run did not end in time, or a database fails. The next call goes on.
        """
        with self._lock():
            records = journal.read(self.state)
            known = {dag: self._check_move(dag, set(dags), records) for dag in dags}
            for dag, old in known.items():
                if dag not in records:
                    self._save(DagRecord(dag, CutoverPhase.WAITING, old.is_paused))
            for group in list_groups(known):
                self._move(group)

    def bring_back(self, dags: Sequence[str]) -> None:
        """Let Dags that were moved, or whose move was interrupted, run in Airflow 2 again, after what ran here.

        Raises:
            UsageError: A Dag was not moved.
            AirfleetError: A run did not end in time, or a database fails. The next call goes on.
        """
        with self._lock():
            records = journal.read(self.state)
            for dag in dags:
                if dag not in records:
                    raise UsageError(f"{dag} was not moved", hint="airfleet migrate cutover --list shows what was")
            for group in list_groups({dag: self._read(self.new, dag) for dag in dags}):
                for dag in group:
                    self._stop_here(records[dag])
                for dag in reversed(group):
                    self._bring_back(journal.read(self.state)[dag])

    def _move(self, group: Sequence[str]) -> None:
        """Move Dags that are tied to each other: all are paused there before the first of them runs here."""
        left: list[DagRecord] = []
        try:
            for dag in group:
                record = journal.read(self.state)[dag]
                if record.phase is CutoverPhase.MOVED:
                    self._confirm(record, self._read(self.old, dag))
                    self.tell(f"{dag}: it was moved before")
                else:
                    left.append(self._leave(record))
            # The others may have taken an hour.
            for record in left:
                self._confirm(record, self._read(self.old, record.dag_id))
        except AirfleetError:
            self._undo(left)
            raise
        # The last one needs none of the others.
        for record in reversed(left):
            self._arrive(record)

    def _leave(self, record: DagRecord) -> DagRecord:
        """Pause a Dag in Airflow 2 between two runs, and return its record."""
        if record.phase is CutoverPhase.STARTING:
            # It may run here already. Then it must not go on there, as it does while its runs are waited for.
            return record
        self._check_paused_here(record)
        last = self._halt(self.old, record).last
        record = replace(record, phase=CutoverPhase.SEEDING, last=last.logical_date.isoformat() if last else "")
        self._save(record)
        return record

    def _check_paused_here(self, record: DagRecord) -> None:
        if not self._read(self.new, record.dag_id).is_paused:
            hint = "pause it here, look at what it has done, and call again"
            raise AirfleetError(f"somebody unpaused {record.dag_id} here before it was moved", hint=hint)

    def _confirm(self, record: DagRecord, old: DagState) -> None:
        """Raise AirfleetError if somebody has unpaused a Dag in Airflow 2 since the command paused it there."""
        dag = record.dag_id
        if old.is_paused:
            if record.phase is CutoverPhase.SEEDING and not _is_between_runs(old, record):
                what = f"a run of {dag} began in {self.old.name} after the command paused it there"
                raise AirfleetError(what, hint="call again: the run goes on there until it has ended")
            return
        if self._read(self.new, dag).is_paused:
            what = f"somebody unpaused {dag} in {self.old.name}; it runs there, and not here"
            again = "call again" if record.phase is not CutoverPhase.MOVED else f"airfleet migrate cutover {dag} --back"
            raise AirfleetError(what, hint=again)
        hint = f"pause it in {self.old.name}, look for runs that both have, and call again; or bring it --back"
        raise AirfleetError(f"somebody unpaused {dag} in {self.old.name}; it runs there and here", hint=hint)

    def _undo(self, left: Sequence[DagRecord]) -> None:
        """Let Dags go on in Airflow 2 after one that is tied to them could not be paused there."""
        for record in left:
            with suppress(AirfleetError):
                if self._read(self.new, record.dag_id).is_paused:
                    if not record.was_paused:
                        self.old.pause(record.dag_id, pause=False)
                    self._save(replace(record, phase=CutoverPhase.WAITING))

    def _arrive(self, record: DagRecord) -> None:
        """Let a Dag run here. Nobody can unpause it in Airflow 2 meanwhile."""
        with self._hold(self.old, record.dag_id) as old:
            self._confirm(record, old)
            if record.phase is not CutoverPhase.STARTING:
                self._check_paused_here(record)
            self.new.seed(record.dag_id, [_mark(old.last, self.old)] if old.last else [])
            self._save(replace(record, phase=CutoverPhase.STARTING))
            if not record.was_paused:
                self.new.pause(record.dag_id, pause=False)
        self._save(replace(record, phase=CutoverPhase.MOVED))
        after = f"its next run follows {old.last.run_id}" if old.last else "it had no run there"
        self.tell(f"{record.dag_id}: {'paused here as it was there' if record.was_paused else 'runs here'}; {after}")

    def _stop_here(self, record: DagRecord) -> None:
        """Pause a Dag here between two runs, if the command has let it run here at all."""
        is_there = (
            record.phase in (CutoverPhase.WAITING, CutoverPhase.SEEDING)
            or not self._read(self.old, record.dag_id).is_paused
        )
        if is_there and self._read(self.new, record.dag_id).is_paused:
            # What waits here, as a run that somebody triggered to try it, must not go on beside Airflow 2.
            return
        self._save(replace(record, phase=CutoverPhase.RETURNING))
        self._halt(self.new, record)

    def _bring_back(self, record: DagRecord) -> None:
        with self._hold(self.new, record.dag_id) as new:
            if not new.is_paused:
                what = f"somebody unpaused {record.dag_id} here on its way back; it goes on here"
                raise AirfleetError(what, hint="call again")
            # Airflow 2 was paused since the move, so its last run is the one that the runs here followed.
            last = self._read(self.old, record.dag_id).last
            runs = self.new.list_since(record.dag_id, last.logical_date if last else None)
            self.old.seed(record.dag_id, [_mark(one, self.new) for one in runs])
            if not record.was_paused:
                self.old.pause(record.dag_id, pause=False)
        left = journal.read(self.state)
        del left[record.dag_id]
        journal.write(self.state, left)
        self.tell(f"{record.dag_id}: runs in {self.old.name} again, after {len(runs)} runs that it had here")

    def _halt(self, side: CutoverSide, record: DagRecord) -> DagState:
        """Pause a Dag on a side when it has no unfinished run there, and return what it is then.

        Runs of a paused Dag do not go on, so the Dag is paused between two runs. A run that begins in this moment
        shows after the pause: the Dag is unpaused again until it has ended.
        """
        end = self.clock() + self.patience_s
        has_told = False
        while True:
            if _is_between_runs(self._read(side, record.dag_id), record):
                side.pause(record.dag_id, pause=True)
                found = self._read(side, record.dag_id)
                if found.is_paused and _is_between_runs(found, record):
                    return found
            if not record.was_paused:
                side.pause(record.dag_id, pause=False)
            if not has_told:
                self.tell(f"{record.dag_id}: waits until no run is unfinished in {side.name}")
                has_told = True
            if self.clock() >= end:
                what = f"{record.dag_id} still has unfinished runs in {side.name}, or datasets for its next run"
                hint = "it goes on there; call again at a quieter time, or with a longer --timeout"
                raise AirfleetError(what, hint=hint)
            self.sleep(PAUSE_S)

    def _check_move(self, dag: str, others: set[str], records: dict[str, DagRecord]) -> DagState:
        old, new = self._read(self.old, dag), self._read(self.new, dag)
        if old.last and not old.active:
            _mark(old.last, self.old)
        if dag in records:
            if records[dag].phase is CutoverPhase.RETURNING:
                raise UsageError(f"{dag} is on its way back", hint=f"airfleet migrate cutover {dag} --back")
            return old
        if not new.is_paused:
            hint = "pause it here first, or it runs twice; look at what it has done"
            raise UsageError(f"{dag} is not paused in {self.new.name}", hint=hint)
        if old.schedule != new.schedule:
            hint = "`airfleet migrate assess` lists the settings that keep the meaning of schedules"
            what = f"{dag} has another schedule here: {new.schedule}, and there: {old.schedule}"
            raise UsageError(what, hint=hint)
        if new.last and (old.last is None or new.last.logical_date > old.last.logical_date):
            what = f"{dag} has run here for {new.last.logical_date.isoformat()}, which {self.old.name} has not"
            raise UsageError(what, hint="delete that run here, or let Airflow 2 run it")
        if old.is_paused and old.active:
            hint = f"unpause it in {self.old.name} until they have ended, or mark them"
            raise UsageError(f"{dag} is paused in {self.old.name} and has {old.active} unfinished runs", hint=hint)
        if old.events and not old.is_paused:
            what = f"{dag} has {old.events} of the datasets for its next run in {self.old.name}"
            raise UsageError(what, hint="call again when this run has begun there: datasets stay where they were")
        moved = {one for one, record in records.items() if record.phase is CutoverPhase.MOVED}
        if left := (old.partners | new.partners) - others - moved:
            # Tasks of Airflow 2 can write any id, and a user copies the command into a shell.
            hint = f"move them together: airfleet migrate cutover {shlex.join(sorted(others | left))}"
            raise UsageError(f"{dag} is tied to {', '.join(sorted(left))} by sensors, triggers or datasets", hint=hint)
        return old

    def _read(self, side: CutoverSide, dag: str) -> DagState:
        found = side.read(dag)
        if found is None:
            raise UsageError(f"{side.name} has no active Dag {dag}", hint="its file must load there")
        return found

    @contextmanager
    def _hold(self, side: CutoverSide, dag: str) -> Iterator[DagState]:
        with side.hold(dag) as found:
            if found is None:
                raise UsageError(f"{side.name} has no active Dag {dag}", hint="its file must load there")
            yield found

    def _save(self, record: DagRecord) -> None:
        journal.write(self.state, {**journal.read(self.state), record.dag_id: record})

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file_lock.wait_and_hold(self.state / journal.LOCK):
            yield


def list_groups(known: Mapping[str, DagState]) -> list[list[str]]:
    """Return the Dags in groups that are tied to each other. In a group, a Dag comes before those that it needs."""
    groups: list[list[str]] = []
    left = list(known)
    while left:
        group = {left[0]}
        while near := {
            one
            for one in set(left) - group
            if known[one].partners & group or any(one in known[other].partners for other in group)
        }:
            group |= near
        members = [dag for dag in left if dag in group]
        needy = {dag: [one for one in members if dag in known[one].needs] for dag in members}
        # Dags that need each other keep the order in which they were named.
        with suppress(CycleError):
            members = list(TopologicalSorter(needy).static_order())
        groups.append(members)
        left = [dag for dag in left if dag not in group]
    return groups


def _is_between_runs(dag: DagState, record: DagRecord) -> bool:
    # Of a Dag that was paused before, nobody waits for a run.
    return dag.active == 0 and (dag.events == 0 or record.was_paused)


def _mark(run: EndedRun, side: CutoverSide) -> EndedRun:
    """Return a run with an id that says where it ran.

    Airflow 2 names a run by its logical date, and Airflow 3 by the moment from which it may run. So the plain id of a
    run there may be that of the next run here, which Airflow could not make then.

    Raises:
        AirfleetError: The run has a state that no ended run has. Airflow 3 could not list it.
    """
    if run.state not in ENDED:
        what = f"the last run of the Dag in {side.name} has the state {make_printable(run.state)}"
        raise AirfleetError(what, hint="mark it as success or failed there, and call again")
    # Tasks of Airflow 2 can write any id. Here it becomes part of the paths of logs.
    name = run.run_id if RUN_ID.fullmatch(run.run_id) else f"scheduled__{run.logical_date.isoformat()}"
    return replace(run, run_id=f"{name}__{side.name.lower().replace(' ', '-')}")

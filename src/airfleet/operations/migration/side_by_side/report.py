"""Run former runs again, compare, and report."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from airfleet.operations.backup.embedded.cluster import Cluster, remove
from airfleet.operations.migration.rehearsal import FOLDER
from airfleet.operations.migration.side_by_side import history, scratch
from airfleet.operations.migration.side_by_side.outcomes import (
    FormerRun,
    OutcomeDifference,
    RepeatedRun,
    compare,
    describe,
)
from airfleet.operations.migration.text import make_printable
from airfleet.spec.secrets import Secret
from airfleet.workspace import file_lock


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A run on both sides, and what differs."""

    old: FormerRun
    new: RepeatedRun
    differences: tuple[OutcomeDifference, ...]

    @property
    def is_same(self) -> bool:
        return not self.differences and not self.new.problem


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs that were compared. `left_out` has a sentence for each that was not."""

    runs: tuple[ComparedRun, ...]
    left_out: tuple[str, ...]
    tables: tuple[OutcomeDifference, ...] = ()

    @property
    def is_same(self) -> bool:
        """Return whether everything was compared, and nothing differs."""
        return not self.left_out and not self.tables and all(one.is_same for one in self.runs)


def run_side_by_side(
    url: str,
    dags: Sequence[str],
    *,
    number: int,
    timeout_s: float,
    state: Path,
    project: Path,
    binaries: Path,
    python: Path,
    environment: Mapping[str, str],
    settings: Mapping[str, str],
    tell: Callable[[str], None],
) -> Comparison:
    """Run the last successful runs of some Dags again, and compare with the history in the database at a URL.

    Raises:
        UsageError: The URL is not one of PostgreSQL.
        AirfleetError: The database cannot be read, or a Dag does not load.
    """
    runs, left_out = history.read_runs(url, dags, number)
    folder = state / FOLDER
    compared = []
    # Another rehearsal would remove the database of this one.
    with file_lock.wait_and_hold(state / f"{FOLDER}.lock"):
        remove(folder)
        cluster = Cluster(folder / "data", binaries, folder / "backups", Secret(secrets.token_urlsafe(24)))
        try:
            if runs:
                with scratch.serve(cluster, folder, project, python, environment, settings, tell) as airflow:
                    for place, run in enumerate(runs, start=1):
                        tell(make_printable(f"runs {run.dag_id} as {run.run_id} ({place} of {len(runs)})"))
                        new = airflow.repeat(run, place, timeout_s)
                        compared.append(ComparedRun(run, new, tuple(compare(run.outcome, new.outcome))))
        finally:
            remove(folder)
    return Comparison(tuple(compared), tuple(left_out))


def list_lines(found: Comparison) -> Iterator[str]:
    """Yield the report for a terminal."""
    for one in found.runs:
        head = make_printable(f"{one.old.dag_id} {one.old.run_id}")
        outcome = one.old.outcome
        if one.is_same:
            what = f"{len(outcome.tasks)} tasks and {len(outcome.xcoms)} XComs"
            yield f"{head}: the same, {what}, in {one.new.seconds:.0f} s"
        else:
            yield f"{head}: differs"
        if one.new.problem:
            yield f"  {one.new.problem}"
        yield from (f"  {describe(difference)}" for difference in one.differences)
        if not one.is_same:
            yield f"  its output: {one.new.log}"
        if unread := sorted({*outcome.unread, *one.new.outcome.unread}):
            yield make_printable(f"  not compared, as it is no JSON: {', '.join(unread)}")
    yield from (describe(one) for one in found.tables)
    yield from (f"left out: {one}" for one in found.left_out)


def to_json(found: Comparison) -> dict[str, object]:
    """Return the report for a program."""
    return {
        "same": found.is_same,
        "runs": [
            {
                "dag_id": one.old.dag_id,
                "run_id": one.old.run_id,
                "same": one.is_same,
                "seconds": round(one.new.seconds, 1),
                "problem": one.new.problem,
                "log": one.new.log,
                "differences": [_difference(difference) for difference in one.differences],
                "not_compared": sorted({*one.old.outcome.unread, *one.new.outcome.unread}),
            }
            for one in found.runs
        ],
        "tables": [_difference(one) for one in found.tables],
        "left_out": list(found.left_out),
    }


def _difference(one: OutcomeDifference) -> dict[str, str | None]:
    return {"what": one.what, "old": one.old, "new": one.new}

"""How often the work of a platform took its fast paths, and the reasons where it did not, from each component's counts.

It was written by processes that tasks run beside, so all of it is text from outside: it is read with no more rights
than theirs, in bounds, and shown escaped.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from airfleet.components.host_model import SERVER_USER, WORKER_USER
from airfleet.components.hosts import airflow as server
from airfleet.components.hosts import workers
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.runners.fleet.transport.sections import MARK
from airfleet.shell_script import render_script
from airfleet_provider.contract import fallbacks
from airfleet_provider.contract.fallbacks import Tally

LONGEST_AGE_S = 3650.0 * 86400
MOST_AT_ONCE = 32
READ_S = 10
_HEAD = re.compile(rf"^{MARK} ([a-z-]+)\.(count|json)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fallback:
    """Why a slower path was taken somewhere: how often, and when last by that machine's own clock."""

    where: str
    reason: str
    count: int
    age_s: int
    expected: bool


@dataclass(frozen=True, slots=True)
class Course:
    """One path over the whole platform: how often it was taken, and why it was not."""

    name: str
    what: str
    fast: int = 0
    fallbacks: tuple[Fallback, ...] = ()

    @property
    def slow(self) -> int:
        return sum(one.count for one in self.fallbacks)

    @property
    def share(self) -> float | None:
        """The share of the fast path; none before anything was counted."""
        total = self.fast + self.slow
        return round(self.fast / total, 4) if total else None


def read_here(state: Path) -> tuple[Course, ...]:
    """The paths of the platform on this machine."""
    folder, now = state / fallbacks.FOLDER, time.time()

    def text(name: str, kind: str) -> str:
        try:
            with (folder / f"{name}.{kind}").open(encoding="utf-8", errors="replace") as file:
                return file.read(fallbacks.FILE_BYTES)
        except OSError:
            return ""

    tallies = {name: fallbacks.read(text(name, "count"), text(name, "json")) for name in fallbacks.PATHS}
    return build([("", now, tallies)])


def look(views: Iterable[HostView]) -> tuple[Course, ...]:
    """The paths of a fleet; a host that does not answer to this is left out, as `status` tells what is wrong there."""

    def ask(view: HostView) -> list[tuple[str, float, Mapping[str, Tally]]]:
        found = []
        for home, user in _list_homes(view):
            try:
                output = view.connection.run(build_look(home, user), timeout_s=30).out
            except AirfleetError:
                continue
            now, tallies = parse(output)
            found.append((f"{view.desired.place.host.name} {home.name}", now, tallies))
        return found

    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        return build(one for found in pool.map(ask, views) for one in found)


def _list_homes(view: HostView) -> Iterator[tuple[Path, str]]:
    roles = set(view.desired.place.host.roles)
    if roles & {"web", "scheduler"}:
        yield server.STATE, SERVER_USER
    if "worker" in roles:
        yield workers.STATE, WORKER_USER


def build_look(home: Path, user: str) -> str:
    """A script that prints the files of every path below a state folder, each after a line that names it."""
    read = render_script(
        __package__,
        "read_counts",
        FOLDER=home / fallbacks.FOLDER,
        FILES=" ".join(f"{name}.{kind}" for name in fallbacks.PATHS for kind in ("count", "json")),
        MARK=MARK,
        MOST_BYTES=fallbacks.FILE_BYTES,
    )
    return render_script(__package__, "look_at_counts", LONGEST_S=READ_S, LOGIN=user, READ=read)


def parse(output: str) -> tuple[float, Mapping[str, Tally]]:
    """The host's clock, and what each path's files say."""
    first, _, rest = output.partition("\n")
    pieces = _HEAD.split(rest)
    texts: dict[tuple[str, str], str] = {}
    for name, kind, text in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        texts.setdefault((name, kind), text)
    now = float(first) if first.strip().isdigit() else 0.0
    return now, {
        name: fallbacks.read(texts.get((name, "count"), ""), texts.get((name, "json"), "")) for name in fallbacks.PATHS
    }


def build(found: Iterable[tuple[str, float, Mapping[str, Tally]]]) -> tuple[Course, ...]:
    """All paths in their order; what happened last comes first."""
    listed = tuple(found)
    courses = []
    for name, what in fallbacks.PATHS.items():
        reasons = [
            Fallback(
                where, one.text, one.count, int(min(max(now - one.last, 0.0), LONGEST_AGE_S)), expected=one.expected
            )
            for where, now, tallies in listed
            for one in tallies[name].reasons
        ]
        reasons.sort(key=lambda one: one.age_s)
        courses.append(Course(name, what, sum(tallies[name].fast for _, _, tallies in listed), tuple(reasons)))
    return tuple(courses)


def describe(courses: Iterable[Course]) -> dict[str, object]:
    """The paths as JSON, and the figures that a benchmark compares; docs/concepts/fallbacks.md explains each key."""
    known = {one.name: one for one in courses}
    starts = known.get(fallbacks.TASK_START, Course(fallbacks.TASK_START, ""))
    calls = known.get(fallbacks.EXECUTION_API, Course(fallbacks.EXECUTION_API, ""))
    return {
        "warm_starts": starts.fast,
        "cold_starts": starts.slow,
        "fast_path_share": calls.share,
        "paths": {
            one.name: {
                "what": one.what,
                "fast": one.fast,
                "slow": one.slow,
                "share": one.share,
                "reasons": [asdict(reason) for reason in one.fallbacks],
            }
            for one in known.values()
        },
    }


def list_lines(courses: Iterable[Course], duration: Callable[[float], str]) -> Iterator[str]:
    """A line for each path on which something went a slower way, and one for each reason that is not by design."""
    for course in courses:
        unexpected = [one for one in course.fallbacks if not one.expected]
        if not unexpected:
            continue
        yield f"{course.name}: {course.fast} {course.what}, {course.slow} not"
        for one in unexpected:
            where = f"{one.where}: " if one.where else ""
            yield f"  {where}{one.count} times, last {duration(one.age_s)} ago: {one.reason}"

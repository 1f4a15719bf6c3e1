"""Read how often a platform took its fast paths, and the reasons for fallbacks (ADR 23).

Each component writes its counts. Tasks run as the same user and can write anything to those files. So they are read
with the rights of that user, up to a size and a time limit, and shown escaped.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airfleet.errors import AirfleetError
from airfleet.runners.fleet.transport.sections import MARK
from airfleet.shell_script import render_script
from airfleet_provider.contract import fallbacks, wording
from airfleet_provider.contract.fallbacks import Tally

if TYPE_CHECKING:
    from airfleet.runners.fleet.survey.host_survey import HostView

LONGEST_AGE_S = 3650.0 * 86400
MOST_AT_ONCE = 32
READ_S = 10
_HEAD = re.compile(rf"^{MARK} ([a-z-]+)\.(count|json)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fallback:
    """One reason for a slower path, with its count and the seconds since it last happened, by that machine's clock."""

    where: str
    reason: str
    count: int
    age_s: int
    expected: bool


@dataclass(frozen=True, slots=True)
class Course:
    """One fast path of the whole platform: how often it was taken, and the fallbacks from it."""

    name: str
    what: str
    fast: int = 0
    fallbacks: tuple[Fallback, ...] = ()

    @property
    def slow(self) -> int:
        return sum(one.count for one in self.fallbacks)

    @property
    def share(self) -> float | None:
        """Return the share of the fast path from 0 to 1, or None if nothing was counted."""
        total = self.fast + self.slow
        return round(self.fast / total, 4) if total else None


def read_here(state: Path) -> tuple[Course, ...]:
    """Return the fast paths of the platform on this machine."""
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
    """Return the fast paths of a fleet, without hosts that do not answer: `status` reports those."""

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
    # `status` of one machine has no hosts, and these take half of its time.
    from airfleet.components.host_model import SERVER_USER, WORKER_USER  # noqa: PLC0415
    from airfleet.components.hosts import airflow as server  # noqa: PLC0415
    from airfleet.components.hosts import workers  # noqa: PLC0415

    roles = set(view.desired.place.host.roles)
    if roles & {"web", "scheduler"}:
        yield server.STATE, SERVER_USER
    if "worker" in roles:
        yield workers.STATE, WORKER_USER


def build_look(home: Path, user: str) -> str:
    """Return a script that prints the files of every path below a state folder, each after a line with its name."""
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
    """Return the host's clock in seconds since 1970, and the counts of each path."""
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
    """Return all paths in their order. Of the fallbacks of a path, the latest comes first."""
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
    """Return the paths as JSON, with the figures that benchmarks compare. docs/concepts/fallbacks.md has the keys."""
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


def list_lines(courses: Iterable[Course]) -> Iterator[str]:
    """Yield a line for each path with unexpected fallbacks, and a line for each of their reasons."""
    for course in courses:
        unexpected = [one for one in course.fallbacks if not one.expected]
        if not unexpected:
            continue
        yield f"{course.name}: {course.fast} {course.what}, {course.slow} not"
        for one in unexpected:
            where = f"{one.where}: " if one.where else ""
            yield f"  {where}{wording.count(one.count, 'time')}, last {wording.duration(one.age_s)} ago: {one.reason}"

"""An assessment as text for a terminal, and as a report in Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from airfleet.operations.migration.assessment import Assessment
from airfleet.operations.migration.findings import FURTHER, MINUTES, MINUTES_PER_DAG, Handling, MigrationFinding
from airfleet.operations.migration.packages import PackageOrigin
from airfleet.operations.migration.settings import SCHEDULING, Fate
from airfleet_provider.contract.text import one_line

MOST_DAGS = 20
# Characters of a line of the summary.
LONGEST = 10_000
_HOUR = 60
_VERDICTS = {
    Handling.BROKEN: "fails under Airflow {version}; a person changes it",
    Handling.MOVED: "does nothing under Airflow {version}; the new fleet.yaml does it",
    Handling.REWRITTEN: "the diff has the change",
    Handling.REVIEW: "works; read it, as it may mean something else",
}


def list_lines(one: Assessment) -> Iterator[str]:
    """Yield the lines of the summary for a terminal. No name in the folder can steer the terminal."""
    return (one_line(line, LONGEST) for line in _list_lines(one))


def _list_lines(one: Assessment) -> Iterator[str]:
    counts = one.count()
    broken = sum(dag.is_broken for dag in one.dags)
    yield f"{len(one.dags)} Dags in {len(one.rewrite.old)} files, for Airflow {one.airflow}"
    yield f"  {len(one.dags) - broken} run after the rewrite, {broken} need a person first"
    yield f"  about {hours(one.minutes)} of work (an estimate; the report says how it is made)"
    for verdict in Handling:
        yield f"  {counts[verdict]:5d} {verdict.value}: {_VERDICTS[verdict].format(version=one.airflow)}"
    yield ""
    for dag in one.dags[:MOST_DAGS]:
        yield f"{hours(dag.minutes):>7}  {dag.dag_id}  ({dag.path})"
        for found in _by_rule(tuple(one for one in dag.findings if one.verdict in (Handling.BROKEN, Handling.MOVED))):
            yield f"         {found}"
    if len(one.dags) > MOST_DAGS:
        yield f"         and {len(one.dags) - MOST_DAGS} more Dags with less work"
    for path, why in one.rewrite.unread:
        yield f"not read: {path}: {why}"
    if one.unknown:
        yield f"Dags of the database that no file names literally: {', '.join(one.unknown)}"
    for problem in one.fleet_file.problems:
        yield f"change by hand: {problem}"


def write_markdown(one: Assessment) -> str:
    """Return the report."""
    return "\n".join(_list_markdown(one)) + "\n"


def hours(minutes: int) -> str:
    """Return minutes as text such as 45 min or 3.5 h."""
    return f"{minutes} min" if minutes < _HOUR else f"{minutes / _HOUR:.1f} h"


def _list_markdown(one: Assessment) -> Iterator[str]:
    counts = one.count()
    yield f"# Move to Airflow {one.airflow}\n"
    broken = sum(dag.is_broken for dag in one.dags)
    yield (
        f"{len(one.dags)} Dags: {len(one.dags) - broken} run after the rewrite, {broken} need a person first. "
        f"About {hours(one.minutes)} of work.\n"
    )
    yield "| findings | verdict | meaning |\n|---|---|---|"
    for verdict in Handling:
        yield f"| {counts[verdict]} | {verdict.value} | {_VERDICTS[verdict].format(version=one.airflow)} |"
    yield (
        f"\nThe work is an estimate: {MINUTES_PER_DAG} min for each Dag, to run it once and look at its output."
        f" Each rule in a file adds {MINUTES[Handling.BROKEN]} min if it is broken (SubDags, plugins, database access:"
        f" more), {MINUTES[Handling.MOVED]} min if it is moved, {MINUTES[Handling.REVIEW]} min to review, and"
        f" {MINUTES[Handling.REWRITTEN]} min if it is rewritten. Further findings of the rule in the file count"
        f" 1/{FURTHER}."
    )
    yield from _list_dags(one)
    yield from _list_packages(one)
    yield from _list_settings(one)
    yield from _list_objects(one)


def _list_dags(one: Assessment) -> Iterator[str]:
    yield "\n## Dags\n"
    yield "| Dag | file | work | broken | moved | rewritten | review |\n|---|---|---|---|---|---|---|"
    for dag in one.dags:
        by = [sum(found.verdict is verdict for found in dag.findings) for verdict in Handling]
        counts = " | ".join(map(str, by))
        yield f"| {_cell(dag.dag_id)} | {_cell(dag.path)}:{dag.line} | {hours(dag.minutes)} | {counts} |"
    yield "\n## Findings for a person\n"
    listed = [found for found in one.rewrite.findings if found.verdict is not Handling.REWRITTEN]
    if not listed:
        yield "None."
    for path in dict.fromkeys(found.path for found in listed):
        yield f"\n### {path}\n"
        for found in (found for found in listed if found.path == path):
            yield f"- line {found.line}, {found.verdict.value}, `{found.rule}`: {found.what}. {_sentence(found.why)}"
            yield f"  {_sentence(found.action)}"
    yield "\n## Rewritten\n"
    for line in _by_rule(tuple(one for one in one.rewrite.findings if one.verdict is Handling.REWRITTEN)):
        yield f"- {line}"
    yield "\nThe file `migration.diff` has all changes; `patch -p1 < migration.diff` in the folder applies them."
    for path, why in one.rewrite.unread:
        yield f"- not read: {path}: {why}"
    if one.unknown:
        yield "\nNo file names these Dags of the database literally: their ids are computed, or their files are gone."
        yield from (f"- {name}" for name in one.unknown)


def _list_packages(one: Assessment) -> Iterator[str]:
    yield "\n## Packages\n"
    yield "| package | from | why |\n|---|---|---|"
    for found in one.packages:
        where = {PackageOrigin.LOCK: f"airfleet's lock: {found.line}", PackageOrigin.DROPPED: "dropped"}
        yield f"| {_cell(found.name)} | {_cell(where.get(found.source, 'requirements.txt'))} | {_cell(found.why)} |"
    yield (
        "\nNo version is written for what the lock does not pin. Put `requirements.txt` into the project, and let"
        " `uv pip compile --generate-hashes --constraint LOCK` choose versions that fit."
    )


def _list_settings(one: Assessment) -> Iterator[str]:
    yield "\n## Options\n"
    kept = ", ".join(f"`{name}: {value}`" for name, value in SCHEDULING.items())
    yield (
        f"fleet.yaml keeps Airflow 2's meaning of schedules ({kept}), unless airflow.cfg says otherwise. With them,"
        " logical dates and data intervals stay as they were, and the first run here follows the last one there."
        " Remove them later, when no template uses the data interval."
    )
    for fate in (Fate.REMOVED, Fate.OWNED, Fate.KEPT, Fate.LEFT):
        options = [option for option in one.settings.options if option.fate is fate]
        if options:
            yield f"\n### {fate.value}\n"
            yield from (f"- `{option.section}.{option.name}`: {option.note or 'as before'}" for option in options)


def _list_objects(one: Assessment) -> Iterator[str]:
    yield "\n## fleet.yaml\n"
    held = one.metadata
    yield (
        f"{len(held.connections)} connections, {len(held.variables)} variables, {len(held.slot_pools)} slot pools and"
        f" {len(held.users)} users were found. Values of secrets were not read.\n"
    )
    yield from (f"- provide {secret}" for secret in one.fleet_file.secrets)
    yield from (f"- left out: {what}" for what in one.fleet_file.left_out)
    yield from (f"- change by hand: {problem}" for problem in one.fleet_file.problems)
    if held.paused:
        yield f"\nPaused in Airflow 2: {', '.join(held.paused)}."
    active = [user for user in held.users if user.is_active]
    if active:
        yield "\n### Users\n"
        yield "Passwords are not taken over. Each command asks for a new one:\n\n```"
        for user in active:
            role = user.roles[0] if user.roles else "Viewer"
            words = ["users", "create", "--username", user.name, "--email", user.email or f"{user.name}@example.com"]
            words += ["--firstname", user.name, "--lastname", user.name, "--role", role]
            yield f"airfleet airflow {shlex.join(words)}"
        yield "```"
        several = [user for user in active if len(user.roles) > 1]
        yield from (f"- {user.name} has more roles: {', '.join(user.roles)}" for user in several)


def _by_rule(found: tuple[MigrationFinding, ...]) -> list[str]:
    """Return one line for each rule with the lines of a file, or with the number of places in many files."""
    lines = []
    for rule in dict.fromkeys(one.rule for one in found):
        own = [one for one in found if one.rule == rule]
        first = own[0]
        places = ", ".join(str(one.line) for one in own[:5]) + (", …" if len(own) > 5 else "")
        where = f"line {places}" if len({one.path for one in own}) == 1 else f"{len(own)} places"
        lines.append(f"{rule} ({where}): {first.what}: {first.action}")
    return lines


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

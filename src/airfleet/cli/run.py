"""`airfleet run`: trigger a run of a Dag, and follow it."""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from airfleet.cli import options
from airfleet.errors import UsageError
from airfleet_provider.contract.text import one_line

if TYPE_CHECKING:
    from airfleet.operations.dag_runs import AirflowResult, FollowedRun, FollowedTask
    from airfleet.operations.explanation import ReadablePlatform

# The words come through standard input: every user of a machine can read the arguments of a process, and `conf` may
# have secrets.
CODE = "import json, sys; sys.argv[1:] = json.load(sys.stdin); from airfleet.cli.main import main; main()"
# What a task is before it does anything.
WAITING = ("", "scheduled", "queued")
STALLED_S = 30.0
MOST_LOGS = 5
INTERRUPTED = 130


@click.command("run", short_help="Trigger a run of a Dag, and follow it to its end.")
@click.argument("dag")
@click.option("--conf", help="The run's conf, an object in JSON. `@FILE` reads it from a file.")
@click.option("--run-id", help="The id of the run. If there is such a run, no other is made.  [default: a new one]")
@click.option("-f", "--follow", is_flag=True, help="Show the tasks until the run ends, and exit with 1 if it fails.")
@options.project_option
@options.state
@options.as_json
def command(
    dag: str,
    conf: str | None,
    run_id: str | None,
    follow: bool,
    project: Path,
    state: Path | None,
    as_json: bool,
) -> None:
    """Trigger a run of a Dag. With --follow, show its tasks as they change, and the logs of those that failed.

    The exit code is 0 if the run succeeded, and 1 if it failed; without --follow it is 0 once the run is made. Ctrl-C
    ends the command and not the run. The id is chosen first, so the same command with --run-id, typed again after an
    error, makes no second run. On stdout is the run's id, or an object with --json.

    \b
    Example:
      airfleet run sales
      airfleet run sales --conf '{"day": "2026-11-29"}' --follow
      airfleet run sales --run-id nightly-2026-11-29 --follow --json
    """
    from airfleet.operations import dag_runs, explanation  # noqa: PLC0415 - `--help` needs none of it

    if run_id is not None and not run_id.strip():
        # A script whose variable is empty must not make another run each time.
        raise UsageError("--run-id is empty", hint="leave it out, and airfleet makes an id")
    told = dag_runs.parse_conf(read_conf(conf)) if conf is not None else None
    place = explanation.find_place(project, state)
    run = run_id or dag_runs.make_run_id(datetime.now(UTC), secrets.token_hex(3))
    again = f"airfleet run {shlex.join((dag, '--run-id', run))} --follow"
    is_made = False

    def run_airflow(words: Sequence[str]) -> AirflowResult:
        # Before the deed: whoever is cut off from here on knows the id.
        _say(f"{dag} {run}: asking for it")
        return call_airfleet(place, "airflow", words=words)

    try:
        is_new = dag_runs.trigger(place, dag, run, told, run_airflow)
        is_made = True
        _say(f"{dag} {run}: {'triggered' if is_new else 'exists already, so none is made'}")
        if not follow:
            _say(f"`{again}` follows it")
            click.echo(json.dumps({"dag": dag, "run": run, "new": is_new}) if as_json else run)
            return
        seen = dag_runs.follow(place, dag, run, show=RunNarrator(dag, run).show, notify=_say)
    except KeyboardInterrupt:
        if is_made:
            _say(f"interrupted; the run goes on: `{again}` follows it")
        else:
            _say(f"interrupted; the run may be made: the same command with --run-id {shlex.quote(run)} makes no second")
        raise SystemExit(INTERRUPTED) from None
    took = "" if seen.seconds is None else f", {seen.seconds:.1f} s"
    show_logs(place, dag, run, [task for task in seen.tasks if task.state == "failed"])
    _say(f"{dag} {run}: {seen.state}{took}")
    click.echo(json.dumps(to_json(dag, run, seen), indent=2) if as_json else run)
    if seen.state != "success":
        raise SystemExit(1)


def read_conf(text: str) -> str:
    """Return what the option says, or what is in the file that it names.

    Raises:
        UsageError: The file cannot be read.
    """
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the file of --conf: {error}", where=text[1:]) from None


def call_airfleet(place: ReadablePlatform, *verb: str, words: Sequence[str]) -> AirflowResult:
    """Run another command of airfleet. It is in a session of its own, so that Ctrl-C does not end it midway."""
    from airfleet.operations.dag_runs import AirflowResult  # noqa: PLC0415 - as above

    state = ["--state", str(place.state.absolute())] if place.state else []
    # `subprocess.run` would kill it at Ctrl-C.
    with subprocess.Popen(
        [sys.executable, "-P", "-c", CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as child:
        output, _ = child.communicate(json.dumps([*verb, "--project", str(place.project), *state, *words]))
    return AirflowResult(child.returncode, output)


class RunNarrator:
    """Shows on stderr what has changed in a run since the last look."""

    def __init__(self, dag: str, run: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._dag, self._run, self._clock = dag, run, clock
        self._known: dict[tuple[str, int], tuple[str, int]] = {}
        self._changed = clock()
        self._is_told = False

    def show(self, run: FollowedRun) -> None:
        """Print one line for each task whose state or try is another, and once where to ask if nothing changes."""
        now = self._clock()
        width = min(40, max((len(one_line(task.name)) for task in run.tasks), default=0))
        before = dict(self._known)
        for task in run.tasks:
            key, status = (task.task, task.map_index), (task.state, task.try_number)
            if self._known.get(key) != status:
                self._known[key] = status
                if task.state not in WAITING:
                    _say(f"  {one_line(task.name):<{width}} {_describe(task)}")
        if self._known != before or any(task.state == "running" for task in run.tasks):
            self._changed, self._is_told = now, False
        elif now - self._changed > STALLED_S and not self._is_told:
            self._is_told = True
            _say(f"  nothing runs for {STALLED_S:.0f} s: `airfleet explain {self._dag} {self._run}` says why")


def _describe(task: FollowedTask) -> str:
    attempt = f", try {task.try_number}" if task.try_number > 1 else ""
    took = f", {task.seconds:.1f} s" if task.seconds is not None and task.state != "running" else ""
    return f"{task.state}{attempt}{took}"


def show_logs(place: ReadablePlatform, dag: str, run: str, failed: Sequence[FollowedTask]) -> None:
    """Print the last lines of the logs of failed tasks. Those of a fleet come from its log store."""
    from airfleet.operations import dag_runs  # noqa: PLC0415 - as above

    for task in failed[:MOST_LOGS]:
        _say(f"the log of {one_line(task.name)}, its last lines:")
        query = [f"--dag={dag}", f"--run={run}", f"--task={task.task}"]
        query += [f"--map-index={task.map_index}"] if task.map_index >= 0 else []
        if place.fleet.hosts:
            found = call_airfleet(place, "logs", "search", words=[*query, f"--lines={dag_runs.LOG_LINES}"])
            lines = [one_line(line) for line in found.output.splitlines()]
        else:
            lines = list(dag_runs.read_log(place, dag, run, task))
        for line in lines:
            _say(f"  {line}")
        _say(f"  all of it: airfleet logs search {shlex.join(query)}")
    if len(failed) > MOST_LOGS:
        _say(f"{len(failed) - MOST_LOGS} more tasks failed: `airfleet explain {dag} {run}` names them")


def to_json(dag: str, run: str, seen: FollowedRun) -> dict[str, object]:
    """Return a run that has ended, for programs. Times are in seconds."""
    return {
        "dag": dag,
        "run": run,
        "state": seen.state,
        "seconds": seen.seconds,
        "tasks": [
            {
                "task": task.task,
                "map_index": task.map_index,
                "state": task.state or None,
                "try": task.try_number,
                "seconds": task.seconds,
            }
            for task in seen.tasks
        ],
    }


def _say(text: str) -> None:
    click.echo(text, err=True)

"""Why a Dag gets no run, and why a run does not start."""

from __future__ import annotations

from collections.abc import Iterator

from airfleet_provider.contract import wording
from airfleet_provider.contract.explanation import words
from airfleet_provider.contract.explanation.facts import DagFacts, Facts, RunFacts
from airfleet_provider.contract.explanation.model import Blocker, Cause, CauseSeverity, Code, Subject

MOST_BLOCKERS = 5
SHORT = 12
NOT_BY_HAND = "`allowed_run_types` of the Dag allows no run by hand."


def judge_pause(facts: Facts, dag: DagFacts) -> Iterator[Cause]:
    """Yield a cause if the Dag is paused."""
    if not dag.is_paused:
        return
    by = f", by {dag.paused_by}" if dag.paused_by else ""
    since = f"has been paused for {words.between(dag.paused_since, facts.now)}{by}"
    yield Cause(
        Code.PAUSED,
        CauseSeverity.HELD,
        f"The Dag {dag.dag} {since if dag.paused_since else 'is paused'}.",
        since=dag.paused_since,
        advice="Tasks that run or are queued go on. Nothing else of the Dag starts until it is unpaused.",
        commands=(words.airflow("dags", "unpause", dag.dag),),
    )


def judge_release(facts: Facts, dag: DagFacts) -> Iterator[Cause]:
    """Yield a cause if no parse finds the Dag any more: its file went, does not load, or is not in the live release."""
    if not dag.is_stale:
        return
    if dag.failures:
        yield from judge_imports(dag)
        return
    if dag.live_release:
        what = f"The Dag {dag.dag} is not in the live release {dag.live_release[:SHORT]}"
        commands = ("airfleet release diff", 'airfleet release deploy -m "why"')
    else:
        what = f"The Dag {dag.dag} is in no Dag file any more, last in {dag.file or 'an unknown file'}"
        commands = ("airfleet airflow dags list", "airfleet logs -n 100 dag-processor")
    yield Cause(
        Code.NOT_LIVE,
        CauseSeverity.HELD,
        f"{what}.",
        since=dag.live_since if dag.live_release else dag.parsed_at,
        figures={"live_release": dag.live_release, "release": dag.release, "file": dag.file},
        advice="The scheduler creates no run of it and examines none. What is queued or running goes on.",
        commands=commands,
    )


def judge_imports(dag: DagFacts) -> Iterator[Cause]:
    """Yield a cause if the file of the Dag does not load."""
    for failure in dag.failures[:1]:
        yield Cause(
            Code.IMPORT_ERROR,
            CauseSeverity.HELD,
            f"{failure.file} does not load: {failure.message}",
            since=failure.since,
            blockers=(Blocker("file", failure.file, "broken", failure.since),),
            advice="The scheduler creates no new run until the file loads.",
            commands=("airfleet status", words.airflow("dags", "list-import-errors")),
        )


def judge_schedule(facts: Facts, dag: DagFacts) -> Iterator[Cause]:
    """Yield the causes for which the scheduler creates no run of the Dag now."""
    yield from judge_pause(facts, dag)
    yield from judge_release(facts, dag)
    if dag.has_import_errors and not dag.is_stale:
        yield from judge_imports(dag)
    active = [run for run in facts.active_runs if run.run_type != "backfill"]
    if dag.max_active_runs and len(active) >= dag.max_active_runs and (dag.has_max_runs or dag.by_assets):
        yield _limit_runs(facts, dag, f"{dag.max_active_runs} runs are active", list(facts.active_runs), len(active))
    if dag.by_assets and dag.next_run_after is None:
        yield from _judge_assets(facts, dag)
    elif dag.next_run_after is None:
        yield _miss_schedule(dag, CauseSeverity.NOTE if facts.active_runs else CauseSeverity.HELD)
    elif dag.next_run_after > facts.now:
        yield Cause(
            Code.NOT_DUE,
            CauseSeverity.WAITING,
            f"The next run of {dag.dag} is due at {words.at(dag.next_run_after, facts.now)}, "
            f"by its schedule {dag.schedule or ''}".rstrip()
            + ".",
            until=dag.next_run_after,
            figures={"next_logical_date": dag.next_logical_date.isoformat() if dag.next_logical_date else None},
            advice="A run by hand starts at once." if _run_by_hand(dag) else NOT_BY_HAND,
            commands=_run_by_hand(dag),
        )
    if dag.run_types is not None and "scheduled" not in dag.run_types and not dag.by_assets:
        yield Cause(
            Code.RUN_TYPE_REFUSED,
            CauseSeverity.HELD,
            f"The Dag {dag.dag} allows no scheduled runs, only {', '.join(dag.run_types)}.",
            advice="`allowed_run_types` of the Dag says so.",
            commands=_run_by_hand(dag),
        )


def _miss_schedule(dag: DagFacts, severity: CauseSeverity) -> Cause:
    has_none = dag.schedule in (None, "", "None")
    why = "it has no schedule" if has_none else f"its schedule, {dag.schedule}, gives none"
    by_hand = "It runs when somebody triggers it." if _run_by_hand(dag) else NOT_BY_HAND
    return Cause(
        Code.NO_SCHEDULE,
        severity,
        f"The Dag {dag.dag} has no run to come: {why}.",
        advice=by_hand if has_none else "Its `end_date` may have passed.",
        commands=_run_by_hand(dag),
    )


def _run_by_hand(dag: DagFacts) -> tuple[str, ...]:
    is_allowed = dag.run_types is None or "manual" in dag.run_types
    return (words.run(dag.dag),) if is_allowed else ()


def _judge_assets(facts: Facts, dag: DagFacts) -> Iterator[Cause]:
    if dag.known_assets and not dag.missing_assets:
        return
    missing = words.listing(dag.missing_assets) or "its assets"
    yield Cause(
        Code.ASSETS_MISSING,
        CauseSeverity.WAITING,
        f"The Dag {dag.dag} waits for new events of {missing}.",
        blockers=tuple(Blocker("asset", name, "no event since the last run") for name in dag.missing_assets),
        figures={"missing": len(dag.missing_assets), "ready": len(dag.known_assets)},
        advice="A run starts when its asset condition is met.",
        commands=(words.airflow("assets", "list"), *_run_by_hand(dag)),
    )


def judge_run_start(facts: Facts, dag: DagFacts, run: RunFacts) -> Iterator[Cause]:
    """Yield the causes for which a queued run does not become a running one."""
    yield from judge_pause(facts, dag)
    yield from judge_release(facts, dag)
    if run.run_after > facts.now:
        yield Cause(
            Code.NOT_DUE,
            CauseSeverity.WAITING,
            f"The run may start at {words.at(run.run_after, facts.now)}.",
            until=run.run_after,
            advice="Its `run_after` is in the future.",
            commands=(words.explain(Subject(dag.dag)),),
        )
    if run.backfill_paused:
        yield Cause(
            Code.BACKFILL_PAUSED,
            CauseSeverity.HELD,
            f"The run belongs to backfill {run.backfill}, which is paused.",
            advice="Unpause the backfill in Airflow's UI, on the page of the Dag.",
            commands=(words.explain(Subject(dag.dag)),),
        )
    most = run.backfill_limit if run.backfill is not None else dag.max_active_runs
    running = [one for one in facts.active_runs if one.state == "running" and one.backfill == run.backfill]
    if most and len(running) >= most:
        of = f"of backfill {run.backfill} " if run.backfill is not None else ""
        yield _limit_runs(facts, dag, f"{most} {'runs' if most > 1 else 'run'} {of}may run at once", running, most)


def _limit_runs(facts: Facts, dag: DagFacts, limit: str, running: list[RunFacts], most: int) -> Cause:
    waiting = sum(one.state == "queued" for one in facts.active_runs)
    oldest = running[0] if running else None
    named = running[:MOST_BLOCKERS]
    return Cause(
        Code.MAX_ACTIVE_RUNS,
        CauseSeverity.WAITING,
        f"`max_active_runs` of {dag.dag} is reached: {limit}, and {len(running)} do. "
        f"{wording.count(waiting, 'run')} wait{'s' if waiting == 1 else ''}.",
        since=oldest.started if oldest else None,
        blockers=tuple(
            Blocker("run", one.run, one.state, one.started or one.queued_at, subject=Subject(dag.dag, one.run))
            for one in named
        ),
        unnamed=len(running) - len(named),
        figures={"max_active_runs": most, "running": len(running), "queued": waiting},
        advice="It goes on when one of these runs ends.",
        commands=(words.explain(Subject(dag.dag, oldest.run)),) if oldest else (),
    )


def judge_run(facts: Facts, dag: DagFacts, run: RunFacts) -> Iterator[Cause]:
    """Yield the causes for which the scheduler starts no task of a run, whatever the tasks are."""
    if run.state == "queued":
        yield from judge_run_start(facts, dag, run)
        return
    if run.state != "running":
        yield Cause(
            Code.RUN_ENDED,
            CauseSeverity.HELD,
            f"The run ended {words.ago(run.ended, facts.now)} with the state {run.state}, so the scheduler starts "
            "no more of its tasks.",
            since=run.ended,
            advice="Clear a task to run it again.",
            commands=(words.explain(Subject(dag.dag, run.run)),),
        )
        return
    yield from judge_pause(facts, dag)
    yield from judge_release(facts, dag)
    if run.logical_date and run.logical_date > facts.now:
        yield Cause(
            Code.LOGICAL_DATE_AHEAD,
            CauseSeverity.WAITING,
            f"The logical date of the run is in the future: {words.at(run.logical_date, facts.now)}.",
            until=run.logical_date,
            advice="The scheduler starts no task of it before.",
            commands=(words.explain(Subject(dag.dag)),),
        )

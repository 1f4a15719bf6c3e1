"""Makes states with the loops of Airflow's scheduler and explains them; JSON of what was explained.

explained_scheduler.py rules|limits|causes    with AIRFLOW__DATABASE__SQL_ALCHEMY_CONN set to an empty database

`rules` compares, for every trigger rule, what an explanation expects of the next loop with what that loop does.
`limits` does the same for the limits of what may run at once, with runs of Dags that were drawn by lot.
`causes` brings about each cause, and prints the explanations by name.
"""

from __future__ import annotations

# Airflow has no types.
# ruff: noqa: ANN401
import json
import random
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.models import DagRun, TaskInstance
from airflow.models.dagbag import DBDagBag
from airflow.sdk import DAG, Asset, task
from sqlalchemy import select

import scheduling_twins as twins
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import overview
from airfleet_provider.contract.explanation import model, readiness
from airfleet_provider.contract.explanation.explain import explain, list_causes
from airfleet_provider.contract.explanation.task_causes import SCHEDULABLE, find_retry
from airfleet_provider.contract.explanation.trigger_rules import TriggerOutcome
from explained_world import DAY, World

LONGEST = 14
BEHIND = model.Code.BEHIND_OTHERS
AFTER = {TriggerOutcome.SKIPS: "skipped", TriggerOutcome.FAILS: "upstream_failed", TriggerOutcome.IS_REMOVED: "removed"}


def compare_rules() -> dict[str, Any]:
    """Drive Dags with every trigger rule to their end, and list where an expectation of a loop was wrong."""
    dags = twins.make_dags()
    world = World(dags)
    for dag in dags:
        world.create_run(dag.dag_id)
    wrong, checked, outcomes = [], 0, set()
    for turn in range(LONGEST):
        for _ in range(2):
            expected = expect(world, [dag.dag_id for dag in dags])
            before = world.states()
            world.loop()
            after = world.states()
            for key, (outcome, is_last) in expected.items():
                now = after[key]
                outcomes.add(outcome.value)
                checked += 1
                wanted = AFTER.get(outcome)
                if outcome is TriggerOutcome.READY:
                    is_right = now in ("scheduled", "queued", "running")
                elif wanted:
                    is_right = now == wanted
                else:
                    is_right = now == before[key]
                # One loop may end a task, and then decide on those after it.
                if not is_right and not (is_last and outcome is TriggerOutcome.WAITS):
                    wrong.append(f"loop {turn}: {key} was expected to be {outcome.value}, was {before[key]}, is {now}")
        with metadata_db.open_session() as session:
            twins.end_queued(session, turn)
    return {"wrong": wrong, "checked": checked, "outcomes": sorted(outcomes)}


def expect(world: World, dags: list[str]) -> dict[tuple[str, str, int], tuple[TriggerOutcome, bool]]:
    """Return what the explanation expects of each task instance without a state, of runs that the loop examines."""
    expected: dict[tuple[str, str, int], tuple[TriggerOutcome, bool]] = {}
    for dag in dags:
        facts = world.read(dag, "run")
        if facts.run.state != "running":
            continue
        specs = facts.spec.tasks
        found = {
            (dag, one.task, one.map_index): readiness.judge(facts.spec, facts.counts, specs[one.task], one.map_index)
            for one in facts.tasks
            if one.state in SCHEDULABLE and not (specs[one.task].is_mapped and one.map_index < 0)
        }
        settles = any(one.outcome not in (TriggerOutcome.READY, TriggerOutcome.WAITS) for one in found.values())
        expected |= {key: (one.outcome, settles) for key, one in found.items()}
    return expected


def compare_limits(seed: int = 7) -> dict[str, Any]:
    """Queue tasks of Dags with drawn limits, and list where an explanation was wrong about the next loop."""
    lot = random.Random(seed)
    dags = [draw_dag(f"drawn_{number}", lot) for number in range(8)]
    world = World(dags)
    for number, slots in enumerate((1, 3, 6)):
        world.execute(
            "INSERT INTO slot_pool (pool, slots, include_deferred) VALUES (%(name)s, %(slots)s, %(counts)s)",
            name=f"pool_{number}",
            slots=slots,
            counts=number == 1,
        )
    for dag in dags:
        for number in range(3):
            world.create_run(dag.dag_id, f"r{number}", day=number)
    wrong, checked, codes = [], 0, set()
    for turn in range(6):
        expected: dict[tuple[str, str, str], Any] = {}
        for dag in dags:
            for number in range(3):
                expected |= list_scheduled(world, dag.dag_id, f"r{number}")
        world.loop()
        for key, found in expected.items():
            facts = world.read_alive(*key)
            now = facts.tasks[0].state
            checked += 1
            codes |= {cause.code.value for cause in found}
            is_blocked = any(cause.blocks for cause in found)
            then = {cause.code for cause in list_causes(facts, facts.dag, facts.run, facts.tasks[0])}
            if is_blocked and BEHIND not in {cause.code for cause in found} and now != "scheduled":
                wrong.append(f"loop {turn}: {key} was blocked by {[cause.code for cause in found]}, and is {now}")
            # What stood before it in the loop may have taken the last slot.
            is_free = {cause.code for cause in found} == {model.Code.NEXT_LOOP}
            if is_free and now == "scheduled" and then <= {model.Code.NEXT_LOOP, BEHIND}:
                wrong.append(f"loop {turn}: nothing was in the way of {key}, and it is {now}; now {then}")
        draw_changes(world, lot)
    return {"wrong": wrong, "checked": checked, "codes": sorted(codes)}


def list_scheduled(world: World, dag: str, run: str) -> dict[tuple[str, str, str], Any]:
    """Return the causes of each scheduled task instance of a run, each read by itself, as a user asks."""
    found = {}
    for one in world.read(dag, run).tasks:
        if one.state == "scheduled":
            key = (dag, run, model.name_task(one.task, one.map_index))
            facts = world.read_alive(*key)
            found[key] = list_causes(facts, facts.dag, facts.run, facts.tasks[0])
    return found


def draw_dag(name: str, lot: random.Random) -> DAG:
    active, runs = lot.choice([1, 2, 5, 16]), lot.choice([1, 2, 16])
    with DAG(name, schedule=None, start_date=DAY, max_active_tasks=active, max_active_runs=runs) as dag:
        for number in range(6):
            limits: dict[str, Any] = lot.choice(
                [{}, {}, {"max_active_tis_per_dag": 1}, {"max_active_tis_per_dagrun": 1}]
            )

            @task(
                task_id=f"t{number}",
                pool=lot.choice(["default_pool", "pool_0", "pool_1", "pool_2", "missing"]),
                pool_slots=lot.choice([1, 1, 1, 2, 4]),
                priority_weight=lot.choice([1, 5, 9]),
                **limits,
            )
            def work(x: int) -> None:
                pass

            work.expand(x=list(range(lot.choice([1, 3]))))
    return dag


def draw_changes(world: World, lot: random.Random) -> None:
    """End, start, defer and clear some of what is queued, and pause and unpause Dags."""
    for row in world.query(
        "SELECT id FROM task_instance WHERE state IN ('queued', 'running', 'deferred') ORDER BY 1", {}
    ):
        state = lot.choice(["queued", "running", "running", "deferred", "success", "success", "failed"])
        world.execute(
            "UPDATE task_instance SET state = %(state)s, start_date = now(), end_date = now() WHERE id = %(id)s",
            state=state,
            id=row["id"],
        )
    for row in world.query("SELECT dag_id FROM dag ORDER BY 1", {}):
        paused = lot.random() < 0.15
        world.execute("UPDATE dag SET is_paused = %(paused)s WHERE dag_id = %(dag)s", paused=paused, dag=row["dag_id"])


def make_dags() -> list[DAG]:
    dags = []

    def add(name: str, *steps: dict[str, Any], **options: Any) -> None:
        with DAG(name, **{"schedule": None, "start_date": DAY, "max_active_tasks": 50, **options}) as dag:
            for number, step in enumerate(steps):

                @task(task_id=f"t{number}", **step)
                def work() -> None:
                    pass

                work()
        dags.append(dag)

    add("pool_full", *[{"pool": "slow"}] * 4)
    add("pool_small", {"pool": "slow", "pool_slots": 5})
    add("pool_missing", {"pool": "nowhere"})
    add("tasks_limit", {}, {}, max_active_tasks=1)
    add("task_limit", {"max_active_tis_per_dag": 1})
    add("plain", {})
    add("paused", {})
    add("runs_limit", {}, max_active_runs=1)
    add("later", {})
    add("ahead", {})
    add("stale", {})
    add("broken", {}, schedule="@daily", catchup=False)
    add("daily", {}, schedule="@daily", catchup=False)
    add("past", {"depends_on_past": True})
    add("retries", {"retries": 3, "retry_delay": timedelta(seconds=600)})
    add("backoff", {"retries": 9, "retry_delay": timedelta(seconds=70), "retry_exponential_backoff": 2.0})
    add("assets", {}, schedule=[Asset("orders"), Asset("stock")])
    add("late", {"priority_weight": 1}, {"priority_weight": 10})
    with DAG("chain", schedule=None, start_date=DAY) as chain:
        twins.step("first") >> twins.step("second") >> twins.step("third")
    with DAG("mapped", schedule=None, start_date=DAY, max_active_tasks=50) as mapped:

        @task(task_id="many", max_active_tis_per_dagrun=1)
        def many(x: int) -> None:
            pass

        many.expand(x=[1, 2, 3])
    return [*dags, chain, mapped]


def bring_about() -> dict[str, Any]:  # noqa: PLR0915 - one case after another
    """Return the explanation of each case by its name."""
    dags = make_dags()
    world = World(dags, is_watched=True)
    seen: dict[str, Any] = {}

    def note(name: str, *words: Any, **options: Any) -> None:
        read = world.read if name == "silent scheduler" else world.read_alive
        seen[name] = model.to_json(explain(read(*words, **options)))

    note("no run yet", "plain")
    note("next daily run", "daily")
    note("two assets", "assets")
    world.execute("INSERT INTO asset_dag_run_queue SELECT id, 'assets', now() FROM asset WHERE name = 'orders'")
    note("one asset", "assets")
    note("scheduler never beat", "plain")
    soon = datetime.now(UTC) + timedelta(hours=2)
    for dag in dags:
        name = dag.dag_id
        if name in ("assets", "daily", "broken", "late"):
            continue
        world.create_run(name, after=soon if name == "later" else DAY, logical=soon if name == "ahead" else None)
    world.create_run("runs_limit", "second", day=1)
    world.create_run("task_limit", "second", day=1)
    world.create_run("past", "second", day=1)
    world.execute("UPDATE dag SET is_paused = true WHERE dag_id = 'paused'")
    world.execute("UPDATE dag SET is_stale = true, relative_fileloc = 'gone.py' WHERE dag_id = 'stale'")
    world.execute("UPDATE dag SET relative_fileloc = 'broken.py' WHERE dag_id = 'broken'")
    world.execute(
        "INSERT INTO import_error (timestamp, filename, bundle_name, stacktrace)"
        " SELECT now(), relative_fileloc, bundle_name, %(trace)s FROM dag WHERE dag_id = 'broken'",
        trace='Traceback\n  File "/x/dags/broken.py", line 3, in <module>\nNameError: no x',
    )
    world.execute("UPDATE dag SET has_import_errors = true WHERE dag_id = 'broken'")
    world.loop(4)
    seen["overview"] = overview.to_json(overview.read(world.query_watched))
    note("a run that waits for a slot pool", "pool_full", "run")
    waiting = next(one for one in seen["a run that waits for a slot pool"]["causes"] if one["code"] == "pool-full")
    seen["held by"] = waiting["blockers"]
    states = world.states()
    last = next(key[1] for key, state in states.items() if key[0] == "pool_full" and state == "scheduled")
    note("a full slot pool", "pool_full", "run", last)
    note("a short cut to a task", "pool_full", last)
    note("a small slot pool", "pool_small", "latest", "t0")
    note("no slot pool", "pool_missing", "run", "t0")
    left = next(key[1] for key, state in states.items() if key[0] == "tasks_limit" and state == "scheduled")
    note("max_active_tasks", "tasks_limit", "run", left)
    runs = world.query("SELECT run_id, state FROM task_instance WHERE dag_id = 'task_limit'", {})
    note(
        "max_active_tis_per_dag", "task_limit", next(row["run_id"] for row in runs if row["state"] == "scheduled"), "t0"
    )
    index = next(key[2] for key, state in states.items() if key[0] == "mapped" and state == "scheduled")
    note("max_active_tis_per_dagrun", "mapped", "run", f"many[{index}]")
    note("all instances", "mapped", "run", "many")
    note("paused", "paused")
    note("a run of a paused Dag", "paused", "run")
    note("max_active_runs", "runs_limit", "second")
    world.execute(
        "INSERT INTO airfleet.sla_instance (rule, kind, dag_id, occasion, run_id, state, starts_at, due_at, changed_at)"
        " VALUES ('by six', 'finished-by', 'runs_limit', 'x', 'second', 'late', now(), now(), now())"
    )
    note("a late run", "runs_limit", "second")
    note("not the late run", "runs_limit", "run")
    note("a run to come", "later", "run")
    note("a logical date ahead", "ahead", "run", "t0")
    note("not live", "stale", "run", "t0")
    note("import error", "broken")
    note("trigger rule", "chain", "run", "second")
    note("a whole run that waits", "chain", "run")
    note("queued", "plain", "run", "t0", executor="local")
    note("a busy platform", "pool_full", "run", last, parallelism=1)
    world.execute(
        "UPDATE task_instance SET state = 'failed', end_date = now(), start_date = now()"
        " WHERE dag_id IN ('past', 'chain') AND run_id = 'run' AND task_id IN ('t0', 'first')"
    )
    note("depends on the past", "past", "second", "t0")
    note("failed", "past", "run", "t0")
    note("will never run", "chain", "run", "second")
    world.loop(2)
    note("upstream failed", "chain", "run", "third")
    note("an ended run", "chain", "run")
    for dag, number in (("retries", 1), ("backoff", 3)):
        world.execute(
            "UPDATE task_instance SET state = 'up_for_retry', try_number = %(number)s, start_date = now(),"
            " end_date = now() WHERE dag_id = %(dag)s",
            dag=dag,
            number=number,
        )
        note(f"retry of {dag}", dag, "run", "t0")
        seen[f"moments of {dag}"] = compare_retry(world, dag)
    world.execute(
        "INSERT INTO trigger (id, classpath, kwargs, created_date) VALUES (7, 'x.y.TimeTrigger', 'x', now());"
    )
    world.execute(
        "UPDATE task_instance SET state = 'deferred', trigger_id = 7, trigger_timeout = now() + interval '1 h'"
        " WHERE dag_id = 'plain'"
    )
    note("deferred without triggerer", "plain", "run", "t0")
    world.execute(
        "INSERT INTO job (job_type, state, hostname, start_date, latest_heartbeat)"
        " VALUES ('TriggererJob', 'running', 'here', now(), clock_timestamp())"
    )
    note("deferred", "plain", "run", "t0")
    world.execute(
        "UPDATE task_instance SET state = 'running', trigger_id = NULL, start_date = now() - interval '5 min',"
        " last_heartbeat_at = now(), hostname = 'h1' WHERE dag_id = 'plain'"
    )
    note("running", "plain", "run", "t0")
    world.execute("UPDATE task_instance SET last_heartbeat_at = now() - interval '30 s' WHERE dag_id = 'plain'")
    note("silent", "plain", "run", "t0")
    world.execute("UPDATE task_instance SET state = 'queued', queued_by_job_id = 99 WHERE dag_id = 'plain'")
    note("its scheduler is gone", "plain", "run", "t0", executor="local")
    world.create_run("late")
    world.execute("UPDATE dag_run SET state = 'running', start_date = now() WHERE dag_id = 'late'")
    world.execute("UPDATE task_instance SET state = 'scheduled' WHERE dag_id = 'late'")
    note("behind others", "late", "run", "t0")
    note("next loop", "late", "run", "t1")
    world.execute("UPDATE job SET latest_heartbeat = now() - interval '90 s' WHERE job_type = 'SchedulerJob'")
    note("silent scheduler", "late", "run", "t1")
    return seen | {"scans": world.scans, "statements": len(world.statements)}


def compare_retry(world: World, dag: str) -> list[str | None]:
    """Return when the next try is, as Airflow says and as the explanation does."""
    facts = world.read(dag, "run", "t0")
    own = find_retry(dag, facts.run, facts.tasks[0], facts.spec.tasks["t0"])
    with metadata_db.open_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == dag))
        ti = session.scalar(select(TaskInstance).where(TaskInstance.dag_id == dag))
        ti.task = DBDagBag().get_dag_for_run(run, session=session).get_task("t0")
        airflows = ti.next_retry_datetime()
    return [airflows.astimezone(UTC).isoformat(), own.isoformat() if own else None]


json.dump({"rules": compare_rules, "limits": compare_limits, "causes": bring_about}[sys.argv[1]](), sys.stdout)

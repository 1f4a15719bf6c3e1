"""What a change of slots costs: how soon a queue of 500 has all slots, and whether a task is ever killed.

make bench-slots                                 both parts: keys of bench/results/scale.json
make bench-slots ARGS="--part worker --times 50" a quick look; nothing is kept of it

The part `platform` runs a platform with Celery on this machine. `slots_s` are the seconds from the moment at which 500
tasks are ready until the worker has all its slots, having had one. Then the slots of the pool are set to 1 and to all,
again and again, while tasks run and the agents process is killed (`platform_scale_ins`, `agents_killed`).

The part `worker` runs one Celery worker at a RabbitMQ node, under tasks without end. `scale_ins` counts how often its
slots were taken away, each time after it had all of them. In every tenth, nobody answers its reports for a while.

`platform_killed` and `killed` count the tasks of a part that began and did not end, or did not run exactly once.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

import brokers
import slot_site
from support import AIRFLEET, RESULTS, project, run, say, wait

SLOTS = 8
TASKS = 500
BAR_TIMES, BAR_SECONDS = 1000, 300.0
FLEET = f"""
name: slots
executor: celery
parallelism: {SLOTS}
pools: {{default: {{scale: {{calm: 3s}}}}}}
"""
DAG = """
import time

from airflow.sdk import dag, task


@dag(schedule=None, max_active_tasks=10000)
def many():
    @task
    def work(number: int) -> None:
        time.sleep(0.5)

    work.expand(number=list(range({tasks})))


many()
"""
IN_FORCE = "SELECT in_force, held FROM airfleet.worker_slots"
READY = "SELECT count(*) FROM task_instance WHERE state IN ('scheduled', 'queued', 'running', 'success')"
COUNTS = """
SELECT count(*) FILTER (WHERE state = 'success'), count(*) FILTER (WHERE state = 'failed'),
    coalesce(sum(greatest(try_number, 1) - 1), 0)::int, count(*) FILTER (WHERE state = 'running') FROM task_instance
"""
UNFINISHED = "SELECT count(*) FROM dag_run WHERE state IN ('queued', 'running')"
OVERRIDE = """
INSERT INTO airfleet.slot_override (pool, slots, actor) VALUES ('default', %s, 'bench')
ON CONFLICT (pool) DO UPDATE SET slots = EXCLUDED.slots
"""


def measure_platform(seconds: float) -> dict[str, Any]:
    """Return the figures of the first part; the second half of it takes so many seconds."""
    with project() as folder:
        (folder / "fleet.yaml").write_text(FLEET)
        (folder / "dags" / "many.py").write_text(DAG.format(tasks=TASKS))
        run(*AIRFLEET, "up", str(folder), "--detach")
        try:
            dsn = (folder / ".airfleet" / "secrets" / "metadata_dsn").read_text().strip()
            with psycopg.connect(dsn, autocommit=True) as connection:
                return watch(connection, folder, seconds)
        finally:
            run(*AIRFLEET, "down", str(folder))


def watch(connection: Any, folder: Path, seconds: float) -> dict[str, Any]:
    """Trigger 500 tasks at a worker with one slot; then change the slots again and again while they run."""

    def read(statement: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = connection.execute(statement).fetchone() or (None, 0)
        return found

    wait(lambda: read("SELECT count(*) FROM dag WHERE NOT is_stale")[0] > 0, "the Dag")
    run(*AIRFLEET, "airflow", "--project", str(folder), "dags", "unpause", "many")
    wait(lambda: read(IN_FORCE)[0] == 1, "one slot")
    run(*AIRFLEET, "airflow", "--project", str(folder), "dags", "trigger", "many")
    wait(lambda: read(READY)[0] >= TASKS, "500 tasks that are ready")
    ready = time.monotonic()
    wait(lambda: read(IN_FORCE)[0] == SLOTS, "all slots")
    slots_s = time.monotonic() - ready
    say(f"all {SLOTS} slots {slots_s:.1f} s after {TASKS} tasks were ready")
    end, times, killed, most_over = time.monotonic() + seconds, 0, 0, 0
    while time.monotonic() < end:
        connection.execute(OVERRIDE, [1])
        if times % 5 == 4:
            killed += kill_agents(folder)
        wait(lambda: read(IN_FORCE)[0] == 1, "one slot")
        times += 1
        connection.execute(OVERRIDE, [SLOTS])
        wait(lambda: read(IN_FORCE)[0] == SLOTS, "all slots again")
        most_over = max(most_over, read(COUNTS)[3] - SLOTS)
        if read(UNFINISHED)[0] == 0:
            run(*AIRFLEET, "airflow", "--project", str(folder), "dags", "trigger", "many")
    connection.execute("DELETE FROM airfleet.slot_override")
    wait(lambda: read(UNFINISHED)[0] == 0, "the end")
    done, failed, burnt, _ = read(COUNTS)
    decisions = read("SELECT count(*) FROM airfleet.slot_decision")[0]
    for line in connection.execute(
        "SELECT decided_at::text, wanted, slots, reason FROM airfleet.slot_decision LIMIT 4"
    ):
        say(" ".join(map(str, line)))
    return {
        "slots_s": round(slots_s, 1),
        "platform_scale_ins": times,
        "agents_killed": killed,
        "platform_tasks": done,
        "platform_decisions": decisions,
        "most_over": max(0, most_over),
        "platform_killed": failed + burnt,
    }


def kill_agents(folder: Path) -> int:
    """Kill the agents process of the platform of a folder, which its supervisor starts again."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "airfleet_provider.agents" in process.cmdline() and str(folder) in str(process.environ()):
                process.kill()
                return 1
    return 0


def measure_worker(times: int) -> dict[str, Any]:
    """Return the figures of the second part, with so many scale-ins."""
    dice, slots, sent = random.Random(7), {"localhost": SLOTS}, 0  # noqa: S311 - no secret
    desk = slot_site.SlotDesk(lambda host: (slots[host], None))

    def await_slots(wanted: int, what: str) -> None:
        slots["localhost"] = wanted
        wait(lambda: "localhost" in desk.news and desk.news["localhost"].in_force == wanted, what)

    with tempfile.TemporaryDirectory() as name, brokers.serve(queues=(slot_site.QUEUE,)) as broker:
        with slot_site.run_workers(Path(name), broker, desk, ["localhost"], SLOTS) as site:
            for count in range(times):
                wanted = site.log.read_text().count("ended") + 3 * SLOTS
                for number in range(sent, wanted):
                    site.send(f"t{number}", dice.uniform(0.05, 0.8))
                sent = max(sent, wanted)
                await_slots(SLOTS, "all slots")
                if count % 10 == 9:
                    desk.is_silent = True
                    time.sleep(0.3)
                    desk.is_silent = False
                # From none on: then the worker has no consumer at all.
                await_slots(dice.randint(0, SLOTS - 1), "fewer slots")
                if count % 100 == 99:
                    say(f"{count + 1} scale-ins, {sent} tasks sent")
            await_slots(SLOTS, "all slots")
            wait(lambda: len(site.log.read_text().splitlines()) >= 2 * sent, "the end of all tasks")
        lines = Counter((what, name) for what, name, *_ in site.read())
    desk.close()
    wrong = [one for one in range(sent) if (lines["begun", f"t{one}"], lines["ended", f"t{one}"]) != (1, 1)]
    return {"scale_ins": times, "worker_tasks": sent, "killed": len(wrong)}


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("worker", "platform", "both"), default="both")
    parser.add_argument("--times", type=int, default=BAR_TIMES)
    parser.add_argument("--seconds", type=float, default=BAR_SECONDS)
    wanted = parser.parse_args()
    if wanted.part != "worker":
        keep(measure_platform(wanted.seconds), is_whole=wanted.seconds >= BAR_SECONDS)
    if wanted.part != "platform":
        keep(measure_worker(wanted.times), is_whole=wanted.times >= BAR_TIMES)


def keep(figures: dict[str, Any], *, is_whole: bool) -> None:
    """Print the figures of a part, and keep them if nothing of it was left out."""
    print(json.dumps(figures, indent=2))
    if is_whole:
        path = RESULTS / "scale.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()

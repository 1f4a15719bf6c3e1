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
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import psutil
import psycopg
from celery import Celery

import brokers
from airfleet.components import celery as celery_files
from airfleet.components.rabbitmq import private_node
from airfleet.spec.secrets import Secret
from airfleet_provider.contract import environment
from airfleet_provider.executors import celery_config, celery_executor
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
        if read(COUNTS)[0] + read(COUNTS)[1] >= TASKS:
            run(*AIRFLEET, "airflow", "--project", str(folder), "dags", "trigger", "many")
    connection.execute("DELETE FROM airfleet.slot_override")
    wait(lambda: read("SELECT count(*) FROM dag_run WHERE state IN ('queued', 'running')")[0] == 0, "the end")
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


class Answers:
    """Answers a worker's reports with the slots that it shall have, and keeps the last report."""

    def __init__(self) -> None:
        self.slots, self.is_silent = SLOTS, False
        self.report: dict[str, int] = {}
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers.report = {name: int(one) for name, [one] in parse_qs(self.path.partition("?")[2]).items()}
                self.send_response(503 if answers.is_silent else 200)
                self.end_headers()
                self.wfile.write(json.dumps({"slots": answers.slots, "again_s": 0.2}).encode())

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextmanager
def worker(folder: Path, broker: brokers.Broker, answers: Answers) -> Iterator[tuple[Celery, Path]]:
    """Run a worker at the broker; yield an application that sends to it, and the log of its tasks."""
    names = ("default",)
    publisher, consumer = private_node.list_logins(broker.node, names)
    key, dsn = broker.node.signing, Secret("postgresql://nowhere")
    kind = private_node.QUEUE_TYPE
    files = {
        "worker": celery_files.render_worker(private_node.url(broker.node, consumer), dsn, names, kind, key),
        "scheduler": celery_files.render_scheduler(private_node.url(broker.node, publisher), dsn, names, kind, key),
    }
    for name, text in files.items():
        (folder / name).write_text(text.reveal())
    log = folder / "tasks.log"
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "SLOTS_LOG": str(log),
        environment.CELERY: str(folder / "worker"),
        environment.DRAINED: str(folder / "mark"),
        environment.WORKERS: str(folder / "notes"),
        environment.SLOTS: f"http://127.0.0.1:{answers.server.server_port}/airfleet/workers/default/localhost",
    }
    command = [sys.executable, "-m", "celery", "-A", "slots_worker", "worker", "-Q", "default", "-c", str(SLOTS)]
    with (folder / "worker.log").open("ab") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
    os.environ[environment.CELERY] = str(folder / "scheduler")
    link = celery_config.read_link()
    app = Celery()
    app.config_from_object({**celery_config.make_config({}, link), "imports": [], "result_backend": None})
    celery_executor.sign_messages(link)
    try:
        yield app, log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def measure_worker(times: int) -> dict[str, Any]:
    """Return the figures of the second part, with so many scale-ins."""
    dice, answers, sent = random.Random(7), Answers(), 0  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as name, brokers.serve(queues=("default",)) as broker:
        folder = Path(name)
        with worker(folder, broker, answers) as (app, log):
            log.touch()
            for count in range(times):
                wanted = log.read_text().count("ended") + 3 * SLOTS
                for number in range(sent, wanted):
                    app.send_task("work", (f"t{number}", dice.uniform(0.05, 0.8)), queue="default", ignore_result=True)
                sent = max(sent, wanted)
                answers.slots = SLOTS
                wait(lambda: answers.report.get("in_force") == SLOTS, "all slots")
                answers.slots = fewer = dice.randint(1, SLOTS - 1)
                if count % 10 == 9:
                    answers.is_silent = True
                    time.sleep(0.3)
                    answers.is_silent = False
                wait(lambda fewer=fewer: answers.report.get("in_force") == fewer, "fewer slots")  # type: ignore[misc]
                if count % 100 == 99:
                    say(f"{count + 1} scale-ins, {sent} tasks sent")
            answers.slots = SLOTS
            wait(lambda: len(log.read_text().splitlines()) >= 2 * sent, "the end of all tasks")
        lines = Counter(log.read_text().splitlines())
    wrong = [one for one in range(sent) if (lines[f"begun t{one}"], lines[f"ended t{one}"]) != (1, 1)]
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

"""Everything that tasks may do, run twice: from a warm process, and started by Airflow, as the oracle."""

import os
import signal
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import BaseOperator, PokeReturnValue, Variable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

HERE = Path(os.environ["AIRFLEET_PROJECT"])
# A task has a socket as standard input. So bash reads ~/.bashrc, as in a remote shell, and its lines are in the log.
NO_START_FILES = {"HOME": "/"}

print("said while loading")


def note(kind, what):
    with (HERE / f"notes-{kind}").open("a") as file:
        file.write(f"{what}\n")


def list_notes(kind):
    path = HERE / f"notes-{kind}"
    return path.read_text().splitlines() if path.exists() else []


class Endless(BaseOperator):
    def __init__(self, *, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def execute(self, context):
        while not (HERE / f"killed-{self.task_id}-{self.kind}").exists():
            time.sleep(0.1)

    def on_kill(self):
        (HERE / f"killed-{self.task_id}-{self.kind}").touch()


def make(kind, queue):
    @dag(
        dag_id=f"semantics_{kind}",
        schedule=None,
        catchup=False,
        is_paused_upon_creation=False,
        max_active_tasks=64,
        default_args={"queue": queue, "retry_delay": timedelta(seconds=0.5)},
    )
    def semantics():
        @task
        def gives():
            return {"n": 7}

        @task
        def takes(value):
            assert value == {"n": 7}

        takes(gives())

        @task
        def numbers():
            return [1, 2, 3]

        @task
        def double(n):
            if n == 2:
                raise AirflowSkipException("no two")
            return 2 * n

        @task(trigger_rule="none_failed")
        def total(found):
            return sum(found)

        total(double.expand(n=numbers()))

        @task(
            retries=1,
            on_retry_callback=lambda context: note(kind, "retry called back"),
            on_failure_callback=lambda context: note(kind, "failure called back"),
        )
        def fails():
            raise ValueError("always")

        @task(retries=2)
        def recovers():
            note(kind, "tried")
            if list_notes(kind).count("tried") < 2:
                raise ValueError("the first time")

        recovers()

        @task(retries=2)
        def gives_up():
            raise AirflowFailException("for good")

        @task(trigger_rule="one_failed")
        def after_a_failure(): ...

        @task(trigger_rule="all_done")
        def after_all(): ...

        @task
        def never(): ...

        failed, given_up = fails(), gives_up()
        [failed, given_up] >> after_a_failure()
        [failed, given_up] >> after_all()
        failed >> never()

        @task.branch
        def chooses():
            return "chosen"

        @task
        def chosen(): ...

        @task
        def not_chosen(): ...

        chooses() >> [chosen(), not_chosen()]

        @task(execution_timeout=timedelta(seconds=1))
        def takes_too_long():
            time.sleep(60)

        takes_too_long()
        Endless(task_id="timed_out", kind=kind, execution_timeout=timedelta(seconds=1))

        @task
        def exits(code):
            sys.exit(code)

        exits.override(task_id="exits_3")(3)
        exits.override(task_id="exits_0")(0)

        @task
        def exits_at_once():
            os._exit(7)

        exits_at_once()

        @task(retries=1)
        def is_killed():
            os.kill(os.getpid(), signal.SIGKILL)

        is_killed()
        is_killed.override(task_id="is_killed_for_good", retries=0)()

        @task
        def crashes():
            os.kill(os.getpid(), signal.SIGSEGV)

        crashes()

        @task(retries=1)
        def reads_nowhere():
            import ctypes

            ctypes.string_at(0)

        @task
        def gives_up_at_once():
            os.abort()

        @task
        def executes_nonsense():
            os.kill(os.getpid(), signal.SIGILL)

        reads_nowhere()
        gives_up_at_once()
        executes_nonsense()

        BashOperator(task_id="bash", bash_command="exit 0", env=NO_START_FILES, append_env=True)
        BashOperator(task_id="bash_skips", bash_command="exit 99", env=NO_START_FILES, append_env=True)
        BashOperator(task_id="bash_fails", bash_command="exit 1", env=NO_START_FILES, append_env=True)

        DateTimeSensorAsync(task_id="deferred", target_time=datetime(2020, 1, 1).isoformat())
        DateTimeSensorAsync(
            task_id="deferred_a_while",
            target_time="{{ macros.datetime.now(macros.dateutil.tz.UTC) + macros.timedelta(seconds=1) }}",
        )

        @task.sensor(mode="reschedule", poke_interval=0.5, timeout=600)
        def comes_back():
            note(kind, "poked")
            return PokeReturnValue(is_done=list_notes(kind).count("poked") > 1)

        comes_back()

        @task
        def cannot_reach_the_database():
            from airflow.settings import Session

            Session()

        cannot_reach_the_database()

        @task
        def tells():
            print("a word on stdout")
            print("a word on stderr", file=sys.stderr)
            print("the password is", Variable.get("task_password"))
            return {
                "leads its group": os.getpgid(0) == os.getpid(),
                "session": os.getsid(0),
                "parent": Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\0")[0],
                "SIGTERM": str(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL),
                "umask": os.umask(0o022),
                "descriptors": len(os.listdir("/proc/self/fd")),
                "dag": get_current_context()["dag"].dag_id == f"semantics_{kind}",
            }

        tells()

        @task
        def random_numbers():
            import random

            return random.random()

        random_numbers()
        Endless(task_id="ended_from_outside", kind=kind)

    semantics()


make("warm", "default")
make("cold", "cold")

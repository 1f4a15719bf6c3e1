"""The warm process: forks on demand, holds children at their gates, and is missed by nobody when it dies.

The scenarios run in a process of their own that is a subreaper, as the supervisor is, against an `airflow` package
that only writes down how it was called.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deadline import PATIENCE_S

FAKE_AIRFLOW = """
import json, os, sys, time

def main():
    with open(os.environ["RECORD"], "a") as file:
        call = {"argv": sys.argv, "ppid": os.getppid(), "sid": os.getsid(0), "own": os.environ["OWN"]}
        file.write(json.dumps(call) + "\\n")
    print("said by", sys.argv[1], flush=True)
    match sys.argv[1]:
        case "fail":
            sys.exit(int(sys.argv[2]))
        case "words":
            sys.exit("in words")
        case "crash":
            raise ValueError("broken")
        case "sleep":
            time.sleep(600)
"""
HEAD = """
import json, os, signal, sys, time
from pathlib import Path
import psutil
from airfleet.components.health import ReadyCheck
from airfleet.components.model import Process
from airfleet.runners.local import processes
from airfleet.runners.local.fork_server import ForkServer
from deadline import PATIENCE_S, wait_until

here = Path(sys.argv[1])
environ = {**os.environ, "RECORD": str(here / "record"), "OWN": "image"}
ended = {}

def hatch(*modules, clock=time.monotonic):
    server = ForkServer(clock)
    argv = (sys.executable, "-m", "airfleet_provider.processes.fork_server", *modules, str(server.descriptor))
    pid = processes.start(argv, env=environ, log=here / "image.log", inherit=(server.descriptor,))
    server.hand_over()
    return server, pid

def fork(server, *commands, preload=()):
    process = Process(name="one", commands=commands, preload=preload, env={"OWN": "child"})
    return server.fork(process, env=environ, log=here / "one.log")

def warm(server):
    wait_until(server.is_warm, "warmth")

def wait_exit(pid):
    def look():
        ended.update(processes.reap())
        return pid in ended
    wait_until(look, f"the exit of {pid}")
    return ended[pid]

def record():
    path = here / "record"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

def log(name):
    return (here / name).read_text()

def is_running(pid):
    ended.update(processes.reap())
    return pid not in ended

processes.become_subreaper()
"""
GATED = """
import os
from airfleet_provider.contract import gate

print("imported", flush=True)
gate.wait(os.environ)
print("works", flush=True)
"""
# A module whose import ends when there is such a file.
WAITING = """
from pathlib import Path
from deadline import wait_until

wait_until(Path({file!r}).exists, "the file")
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    package = tmp_path / "path" / "airflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(FAKE_AIRFLOW)
    return tmp_path


def play(here: Path, scene: str) -> None:
    """Run one scenario; its assertions fail this test."""
    support = Path(__file__).parents[3] / "support"
    done = subprocess.run(
        [sys.executable, "-c", HEAD + scene, str(here)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env={"PYTHONPATH": f"{here / 'path'}:{support}", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr


def test_a_child_runs_its_commands_when_its_gate_opens_and_belongs_to_the_supervisor(here: Path) -> None:
    play(
        here,
        """
server, image = hatch()
warm(server)
child = fork(server, ("airflow", "one", "--flag"), ("airflow", "two"))
assert record() == []
child.open_gate()
assert wait_exit(child.pid) == 0
first, second = record()
assert first["argv"] == ["airflow", "one", "--flag"]
assert second["argv"] == ["airflow", "two"]
assert (first["ppid"], first["sid"], first["own"]) == (os.getpid(), child.pid, "child")
assert log("one.log") == "said by one\\nsaid by two\\n"
assert is_running(image)
""",
    )


def test_it_is_warm_only_after_its_imports_and_a_missing_module_is_no_reason_to_fail(here: Path) -> None:
    (here / "path" / "slow.py").write_text("open(__file__ + '.done', 'w').close()")
    play(
        here,
        """
server, image = hatch("not_there.at_all", "slow")
assert not server.is_warm() or Path(sys.argv[1], "path", "slow.py.done").exists()
warm(server)
assert Path(sys.argv[1], "path", "slow.py.done").exists()
assert "cannot preload not_there.at_all" in log("image.log")
child = fork(server, ("airflow", "one"), preload=("nor_this",))
child.open_gate()
assert wait_exit(child.pid) == 0
assert "cannot preload nor_this" in log("one.log")
""",
    )


def test_a_child_whose_gate_is_closed_ends_without_running(here: Path) -> None:
    play(
        here,
        """
server, image = hatch()
warm(server)
child = fork(server, ("airflow", "one"))
assert is_running(child.pid)
os.close(child.gate)
assert wait_exit(child.pid) == 1
assert record() == []
""",
    )


@pytest.mark.parametrize(
    ("words", "code", "logged"),
    [
        (("fail", "0"), 0, ""),
        (("fail", "3"), 3, ""),
        (("words",), 1, "in words"),
        (("crash",), 1, "ValueError: broken"),
    ],
)
def test_a_child_ends_with_the_exit_code_of_its_commands(
    here: Path, words: tuple[str, ...], code: int, logged: str
) -> None:
    play(
        here,
        f"""
server, image = hatch()
warm(server)
child = fork(server, {("airflow", *words)!r}, ("airflow", "next"))
child.open_gate()
assert wait_exit(child.pid) == {code}
assert (len(record()) == 2) is ({code} == 0), "a command ran after one that failed"
assert {logged!r} in log("one.log")
""",
    )


def test_the_death_of_the_image_harms_no_child_and_is_seen_at_the_next_order(here: Path) -> None:
    play(
        here,
        """
server, image = hatch()
warm(server)
running = fork(server, ("airflow", "sleep"))
running.open_gate()
waiting = fork(server, ("airflow", "one"))
wait_until(record, "the first command")
os.kill(image, signal.SIGKILL)
assert wait_exit(image) == -9
try:
    fork(server, ("airflow", "one"))
    raise SystemExit("a dead image took an order")
except OSError:
    pass
waiting.open_gate()
assert wait_exit(waiting.pid) == 0
assert is_running(running.pid)
os.kill(running.pid, signal.SIGTERM)
assert wait_exit(running.pid) == -15
""",
    )


def test_a_failed_order_leaks_no_descriptor(here: Path) -> None:
    play(
        here,
        """
server, image = hatch()
warm(server)
os.kill(image, signal.SIGKILL)
wait_exit(image)
before = len(os.listdir("/proc/self/fd"))
for _ in range(5):
    try:
        fork(server, ("airflow", "one"))
    except OSError:
        pass
assert len(os.listdir("/proc/self/fd")) == before
""",
    )


def test_the_image_ends_when_its_supervisor_closes_the_channel(here: Path) -> None:
    play(
        here,
        """
server, image = hatch()
warm(server)
server.close()
assert wait_exit(image) == 0
""",
    )


def test_an_order_of_the_size_of_a_whole_environment_arrives(here: Path) -> None:
    play(
        here,
        """
environ["LARGE"] = "x" * 150_000
server = ForkServer()
small = {key: value for key, value in environ.items() if key != "LARGE"}
argv = (sys.executable, "-m", "airfleet_provider.processes.fork_server", str(server.descriptor))
processes.start(argv, env=small, log=here / "image.log", inherit=(server.descriptor,))
server.hand_over()
warm(server)
child = fork(server, ("airflow", "one"))
child.open_gate()
assert wait_exit(child.pid) == 0
""",
    )


def test_a_killed_supervisor_takes_waiting_and_running_children_with_it(here: Path) -> None:
    play(
        here,
        """
reader, writer = os.pipe()
supervisor = os.fork()
if supervisor == 0:
    processes.become_subreaper()
    server, image = hatch()
    warm(server)
    running, waiting = fork(server, ("airflow", "sleep")), fork(server, ("airflow", "sleep"))
    running.open_gate()
    wait_until(record, "the first command")
    os.write(writer, json.dumps([image, running.pid, waiting.pid]).encode())
    time.sleep(600)
pids = json.loads(os.read(reader, 1000))
os.kill(supervisor, signal.SIGKILL)
for pid in pids:
    wait_exit(pid)
assert len(record()) == 1
""",
    )


def write_slow_modules(here: Path) -> None:
    """Write the module `first`, and `slow1` and `slow2`, whose imports wait for the files `go1` and `go2`."""
    for number in (1, 2):
        (here / "path" / f"slow{number}.py").write_text(WAITING.format(file=str(here / f"go{number}")))
    (here / "path" / "first.py").write_text("")


def test_it_forks_early_between_the_imports_of_its_other_modules(here: Path) -> None:
    write_slow_modules(here)
    play(
        here,
        """
server, image = hatch("first", "+", "slow1", "slow2")
assert not server.is_warm()
wait_until(server.is_early, "the first modules")
assert not server.is_warm()
(here / "go1").touch()
child = fork(server, ("airflow", "one"))
assert not server.is_warm(), "the second module still waits"
child.open_gate()
assert wait_exit(child.pid) == 0
(here / "go2").touch()
warm(server)
assert server.is_early()
child = fork(server, ("airflow", "two"))
child.open_gate()
assert wait_exit(child.pid) == 0
assert [one["argv"][1] for one in record()] == ["one", "two"]
""",
    )


def test_an_image_that_imports_for_long_shows_that_it_lives(here: Path) -> None:
    write_slow_modules(here)
    play(
        here,
        """
now = 0.0
server, image = hatch("first", "+", "slow1", "slow2", clock=lambda: now)
wait_until(server.is_early, "the first modules")
server.check()
now += 100
found = server.check()
assert (found.healthy, found.conclusive) == (False, True), "nothing was heard; it is asked"
(here / "go1").touch()
wait_until(lambda: not server.check().conclusive, "an answer between two imports")
assert server.check().conclusive, "an answer counts once"
(here / "go2").touch()
wait_until(lambda: server.check().healthy, "warmth")
""",
    )


def test_an_answer_that_comes_too_late_belongs_to_no_other_request(here: Path) -> None:
    (here / "path" / "slow.py").write_text(WAITING.format(file=str(here / "go")))
    (here / "path" / "first.py").write_text("")
    play(
        here,
        """
from airfleet.runners.local import fork_server
server, image = hatch("first", "+", "slow")
wait_until(server.is_early, "the first modules")
patience, fork_server.ANSWER_S = fork_server.ANSWER_S, 0.05
try:
    fork(server, ("airflow", "late"))
    raise SystemExit("an image that imports took a request")
except TimeoutError:
    pass
fork_server.ANSWER_S = 10 * PATIENCE_S
try:
    fork(server, ("airflow", "later"))
    raise SystemExit("an image that imports took a request")
except TimeoutError:
    pass  # at once: no other request is sent before an answer
fork_server.ANSWER_S = patience
(here / "go").touch()
warm(server)
child = fork(server, ("airflow", "two"))
child.open_gate()
assert wait_exit(child.pid) == 0
assert [one["argv"][1] for one in record()] == ["two"], "the gate of the first is closed, so it ran nothing"
""",
    )


def test_an_image_that_hangs_is_known_keeps_nobody_and_is_healthy_again_when_it_answers(here: Path) -> None:
    play(
        here,
        """
now = 0.0
server, image = hatch(clock=lambda: now)
warm(server)
child = fork(server, ("airflow", "one"))
def pass_time(seconds):
    global now
    now += seconds
    return server.check()
for _ in range(3):
    assert pass_time(6).healthy, "it is asked now"
    now += 11
    wait_until(lambda: server.check().healthy, "the answer")
os.kill(image, signal.SIGSTOP)
wait_until(lambda: psutil.Process(image).status() == psutil.STATUS_STOPPED, "a stop, after which no answer comes")
assert pass_time(6).healthy
found = pass_time(11)
assert (found.healthy, found.detail) == (False, "has not answered for 10 s")
try:
    fork(server, ("airflow", "hangs"))
    raise SystemExit("an image that hangs took a request")
except TimeoutError:
    pass
os.kill(image, signal.SIGCONT)
wait_until(lambda: server.check().healthy, "the answer")
child.open_gate()
assert wait_exit(child.pid) == 0
child = fork(server, ("airflow", "two"))
child.open_gate()
assert wait_exit(child.pid) == 0
assert [one["argv"][1] for one in record()] == ["one", "two"]
""",
    )


def test_a_program_with_a_gate_imports_and_then_waits_until_it_is_opened_or_its_supervisor_is_gone(here: Path) -> None:
    (here / "path" / "gated.py").write_text(GATED)
    play(
        here,
        """
from airfleet_provider.contract.environment import GATE
def begin(name):
    reader, writer = os.pipe()
    argv = (sys.executable, "-m", "gated")
    pid = processes.start(argv, env={**environ, GATE: str(reader)}, log=here / name, inherit=(reader,))
    os.close(reader)
    wait_until(lambda: log(name) == "imported\\n", "the imports")
    return pid, writer
pid, writer = begin("opened")
assert is_running(pid)
os.write(writer, b"g")
assert wait_exit(pid) == 0
assert log("opened") == "imported\\nworks\\n"
pid, writer = begin("closed")
os.close(writer)
assert wait_exit(pid) == 1
assert log("closed") == "imported\\n"
pid = processes.start((sys.executable, "-m", "gated"), env=environ, log=here / "none")
assert wait_exit(pid) == 0, "without a gate, a program begins at once"
""",
    )

"""The task image has no secret of the platform, and what is forked from it has the settings that it should have."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from airfleet.components import image
from airfleet.runners.local import processes
from airfleet.runners.local.fork_server import ForkServer
from airfleet_provider.contract import session_notes
from airfleet_provider.contract.environment import ONE_SESSION
from airfleet_provider.contract.fork_protocol import SESSIONS, TASK_IMAGE, TASK_SETTINGS
from airfleet_provider.processes import image_client
from airfleet_provider.task_runtime.task_image import MODULES
from deadline import COMMAND_S, PATIENCE_S, wait_until

SECRETS = {
    name: f"{name}-{hashlib.sha256(name.encode()).hexdigest()}" for name in ("database", "fernet", "web", "token")
}
BROKER = f"amqp://airflow:broker-{hashlib.sha256(b'broker').hexdigest()}@127.0.0.1:1//"
SETTINGS = f"""
[core]
load_examples = False
parallelism = 7
fernet_key = {SECRETS["fernet"]}
[database]
sql_alchemy_conn = postgresql+psycopg2://airflow:{SECRETS["database"]}@127.0.0.1:1/airflow
[api]
secret_key = {SECRETS["web"]}
[api_auth]
jwt_secret = {SECRETS["token"]}
[logging]
base_log_folder = HOME/logs
[dag_processor]
dag_bundle_config_list = [{{"name": "here", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
    "kwargs": {{"path": "HOME/dags"}}}}]
"""
# What two processes never have alike, and what only a process has that has read other settings before.
OWN = {"SECRET_KEY", "OVERRIDE_SPAN_ID_KEY", "OVERRIDE_TRACE_ID_KEY"}
PROBE = f"""
import json, os, sys

def describe():
    from airflow import configuration, settings
    from airflow.configuration import conf
    from airflow.sdk.configuration import conf as task_conf
    found = {{}}
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] == "airflow":
            for key, value in vars(module).items():
                if type(value) in (str, int, float, bool) and not key.startswith("__") and key not in {OWN!r}:
                    found[f"{{name}}:{{key}}"] = value
    for which, one in (("conf", conf), ("task_conf", task_conf)):
        found[which] = one.as_dict(display_source=True, display_sensitive=True, raw=True)
        found[f"{{which}} of the file"] = {{section: dict(one._sections[section]) for section in one.sections()}}
    found["backends"] = [type(one).__name__ for one in configuration.secrets_backend_list]
    found["engine"] = settings.engine.url.render_as_string(hide_password=False)
    return found

def tell(descriptor, told):
    # A pipe holds less than this.
    with os.fdopen(descriptor, "w") as file:
        json.dump(told, file)

def plain(given, descriptors):
    tell(descriptors[0], {{"found": describe(), "environ": dict(os.environ), "session": os.getsid(0),
        "pid": os.getpid(), "cwd": os.getcwd(), "path": sys.path, "given": given}})

def switched(given, descriptors):
    from airfleet_provider.compat.calls import settings_switch
    from airfleet_provider.compat.patches.patch import change_constants
    settings_switch.switch(change_constants)
    plain(given, descriptors)

def fresh(modules):
    from airfleet_provider.processes import fork_server, iri_grammar
    iri_grammar.defer()
    fork_server.import_modules(modules)
    import airfleet_provider.compat.calls.settings_switch
    tell(os.dup(1), describe())
"""

EXECUTOR = """
import os, socket, sys
from pathlib import Path
import psutil
from airfleet_provider.contract import session_notes
from airfleet_provider.contract.fork_protocol import SESSIONS
from airfleet_provider.processes import fd_messages
from airfleet_provider.processes.polling import wait_readable
from airfleet_provider.task_runtime.eviction import ZygoteLimits
from airfleet_provider.task_runtime.guard import Guard
from deadline import PATIENCE_S, wait_until

guard = Guard.start(ZygoteLimits())

def find_pools():
    noted = session_notes.read(Path(os.environ["AIRFLOW_HOME"], SESSIONS, "scheduler"))
    return [psutil.Process(session) for session in noted if not is_gone(session)]

def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True

def start_task():
    ours, theirs = fd_messages.pair()
    streams = [socket.socketpair() for _ in range(fd_messages.TASK_DESCRIPTORS - 1)]
    order = {"bundle": "here", "version": None, "path": "empty.py", "task": ["empty", "one"], "env": {}}
    with socket.socket(fileno=os.dup(guard.channel)) as channel:
        fd_messages.send(channel, order, [*(pair[1].fileno() for pair in streams), theirs.fileno()])
    theirs.close()
    for _, end in streams:
        end.close()
    assert wait_readable([ours], PATIENCE_S), "nobody heard the request"
    answer, _ = fd_messages.receive(ours)
    return answer, ours, streams

"""
KILLER = (
    EXECUTOR
    + """
answer, *held = start_task()  # it waits for its supervisor's first message, and so for the end of this program
(killed,) = find_pools()
assert killed.pid in [one.pid for one in psutil.Process(answer["pid"]).parents()]
killed.kill()
(pool,) = wait_until(lambda: [one for one in find_pools() if one.pid != killed.pid], "another pool")
again, *more = start_task()
assert pool.pid in [one.pid for one in psutil.Process(again["pid"]).parents()]
assert psutil.Process(answer["pid"]).is_running(), "the task outlives the pool"
print("last", pool.pid, flush=True)
"""
)
LOSER = (
    EXECUTOR
    + """
from airfleet_provider.task_runtime.guard import FORK_TRIES
seen = set()
for _ in range(FORK_TRIES):
    (pool,) = wait_until(lambda: [one for one in find_pools() if one.pid not in seen], "a pool")
    seen.add(pool.pid)
    pool.kill()
wait_until(lambda: not find_pools(), "the end of the last")
answer, *held = start_task()
assert answer["pid"], answer
assert find_pools() == []
print("last", guard.pid, flush=True)
"""
)
# A pool of an executor whose session somebody else may end.
KEPT = (
    EXECUTOR
    + """
answer, *held = start_task()
assert os.getsid(answer["pid"]) == os.getsid(0)
assert find_pools() == []
print("last", guard.pid, flush=True)
"""
)
EMPTY = """
from airflow.sdk import DAG, task

with DAG("empty"):

    @task
    def one() -> None: ...

    one()
"""


@dataclass(frozen=True)
class Images:
    """An image that has imported Airflow, and its task image."""

    home: Path
    image: psutil.Process
    tasks: psutil.Process
    environment: Mapping[str, str]

    def fork(self, kind: str, settings: str = "") -> dict[str, Any] | None:
        """Return what a fork of the task image tells, or None if none was made."""
        reader, writer = os.pipe()
        process = image_client.fork(kind, {"word": kind}, [writer], env=self.environment, settings=settings)
        os.close(writer)
        with os.fdopen(reader) as file:
            text = file.read()
        if process is None:
            assert not text
            return None
        process.wait()
        told: dict[str, Any] = json.loads(text)
        return told


@contextmanager
def run_image(home: Path, environment: Mapping[str, str], *kinds: str) -> Iterator[psutil.Process]:
    """Run an image, with its task image, in this home until the end of the block."""
    server = ForkServer()
    module = "airfleet_provider.task_runtime.task_image"
    argv = (sys.executable, "-P", "-m", module, *kinds, "airflow.models:import_all_models", str(server.descriptor))
    log = home.parent / "image.log"
    pid = processes.start(argv, env=environment, log=log, inherit=(server.descriptor,))
    server.hand_over()
    try:
        wait_until(server.is_warm, "an image", seen=log.read_text)
        yield psutil.Process(pid)
    finally:
        server.close()
        os.kill(pid, signal.SIGKILL)  # the task image ends with it
        os.waitpid(pid, 0)


def prepare(folder: Path) -> tuple[Path, dict[str, str]]:
    """Make a home with settings and a Dag file, and return it with the environment of an image."""
    home = folder / "home"
    home.mkdir()
    (home / "airflow.cfg").write_text(SETTINGS.replace("HOME", str(home)))
    (folder / "probe.py").write_text(PROBE)
    (home / "dags").mkdir()
    (home / "dags" / "empty.py").write_text(EMPTY)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AIRFLEET"))},
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": str(folder),
        "AIRFLEET_COMPONENT": "releaser",
        "AIRFLOW__CELERY__BROKER_URL": BROKER,
    }
    return home, environment


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    home, environment = prepare(tmp_path_factory.mktemp("images"))
    kinds = [*image.KINDS, *(f"{name}=probe:{name}" for name in ("plain", "switched"))]
    with run_image(home, environment, *kinds) as found:
        (tasks,) = found.children()
        yield Images(home, found, tasks, environment)


def is_gone(pid: int) -> bool:
    """Return whether a process has ended. An orphan may stay a zombie for as long as init likes."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def read_memory(pid: int) -> bytes:
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", 0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            begin, end = (int(part, 16) for part in span.split("-"))
            if rights.startswith("rw"):
                file.seek(begin)
                parts.append(file.read(end - begin))
    return b"".join(parts)


def run_executor(images: Images, log: Path, code: str, more: Mapping[str, str] | None = None) -> None:
    """Run a program that starts tasks to its end, and wait for the end of the process that it names last."""
    support = Path(__file__).parents[3] / "support"
    path = os.pathsep.join((images.environment["PYTHONPATH"], str(support)))
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**images.environment, "PYTHONPATH": path, "AIRFLEET_COMPONENT": "scheduler", **(more or {})},
        stdout=log.open("w"),  # no pipe: the pool has it too
        stderr=subprocess.STDOUT,
        check=False,
        timeout=COMMAND_S,
    )
    assert done.returncode == 0, log.read_text()
    last = int(re.findall(r"^last (\d+)$", log.read_text(), re.MULTILINE)[0])
    wait_until(lambda: is_gone(last), "the end after that of its executor", seen=log.read_text)


def test_the_task_image_has_no_secret_in_its_memory_or_its_environment(images: Images) -> None:
    known = [*SECRETS.values(), BROKER]
    assert images.tasks.cmdline()[0].strip() == "airfleet task image"
    assert images.fork("plain") is not None, "a request with a secret passes by the task image"
    memory = read_memory(images.image.pid)
    assert [secret for secret in known if secret.encode() not in memory] == [], "the image has all of them"
    memory = read_memory(images.tasks.pid)
    assert [secret for secret in known if secret.encode() in memory] == []
    assert b"parallelism" in memory
    started_with = Path(f"/proc/{images.tasks.pid}/environ").read_bytes()
    assert [secret for secret in known if secret.encode() in started_with] == []


def test_a_fork_is_a_session_of_its_own_that_the_supervisor_finds(images: Images) -> None:
    told = images.fork("plain")
    assert told is not None
    assert told["pid"] == told["session"]
    assert (told["environ"], told["path"], told["cwd"]) == (dict(images.environment), sys.path, str(Path.cwd()))
    assert told["given"] == {"word": "plain"}
    assert told["found"]["conf"]["core"]["parallelism"][0] == "7"
    assert not any(secret in json.dumps(told["found"]) for secret in SECRETS.values())
    assert told["pid"] in session_notes.read(images.home / SESSIONS / "releaser")


def test_a_fork_that_switches_has_what_a_process_has_that_read_all_settings_at_once(images: Images) -> None:
    told = images.fork("switched")
    code = "import sys; del sys.path[0]; import json, probe; probe.fresh(json.loads(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(MODULES)],
        env=dict(images.environment),
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_S,
    )
    assert told is not None
    found, expected = told["found"], json.loads(done.stdout.splitlines()[-1])
    assert {key: found.get(key) for key in expected} == expected
    assert SECRETS["database"] in found["engine"]


def test_who_has_read_other_settings_gets_no_fork(images: Images) -> None:
    digest = hashlib.sha256((images.home / TASK_SETTINGS).read_bytes()).hexdigest()
    assert images.fork("plain", digest) is not None
    assert images.fork("plain", "0" * len(digest)) is None
    assert images.fork("no such kind") is None


def test_a_fork_whose_client_gave_up_ends_and_does_nothing(images: Images) -> None:
    order = {
        "kind": "plain",
        "given": {},
        "env": dict(images.environment),
        "path": sys.path,
        "cwd": "/",
        "settings": "",
    }
    reader, writer = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(images.home / TASK_IMAGE))
        socket.send_fds(client, [json.dumps(order).encode()], [1, 2, writer])
        client.settimeout(PATIENCE_S)
        _, (pidfd,), _, _ = socket.recv_fds(client, 100, 1)
    os.close(writer)
    with os.fdopen(reader) as file:
        assert file.read() == ""
    image_client.ForkedProgram(pidfd).wait()


@pytest.mark.parametrize("code", [KILLER, LOSER], ids=["one", "all"])
def test_a_pool_that_is_killed_is_replaced_at_once_and_by_a_program_if_none_lasts(
    images: Images, tmp_path: Path, code: str
) -> None:
    run_executor(images, tmp_path / "log", code)


def test_what_must_stay_in_one_session_is_no_fork(images: Images, tmp_path: Path) -> None:
    run_executor(images, tmp_path / "log", KEPT, {ONE_SESSION: "1"})


def test_without_a_task_image_there_is_no_fork_and_the_image_stays(images: Images) -> None:
    images.tasks.kill()
    wait_until(lambda: images.tasks.status() == psutil.STATUS_ZOMBIE, "its end")
    assert images.fork("plain") is None
    assert images.image.is_running()


def test_an_image_that_cannot_begin_without_secrets_imports_everything_by_itself(tmp_path: Path) -> None:
    home, environment = prepare(tmp_path)
    (tmp_path / "broken.py").write_text("raise RuntimeError('not without secrets')")
    state = {"AIRFLEET_STATE": str(tmp_path)}
    with run_image(home, {**environment, **state}, *image.KINDS, "broken=broken:main") as found:
        assert found.children() == []
        assert BROKER.encode() in read_memory(found.pid)
        assert image_client.fork("parser", {}, [], env=environment) is None
        assert not (home / TASK_IMAGE).exists(), "who asks there counts a fault each time"
    (reason,) = json.loads((tmp_path / "fallbacks" / "task-image.json").read_text())
    assert reason.startswith("there is no task image")


def test_an_image_without_a_task_image_leaves_no_socket_of_an_earlier_one(tmp_path: Path) -> None:
    home, environment = prepare(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as earlier:
        earlier.bind(str(home / TASK_IMAGE))
    secret = {"AIRFLOW__SENTRY__SENTRY_DSN": "https://key@sentry.example/1"}
    with run_image(home, {**environment, **secret, "AIRFLEET_STATE": str(tmp_path)}, *image.KINDS) as found:
        assert found.children() == []
        assert not (home / TASK_IMAGE).exists()
    (reason,) = json.loads((tmp_path / "fallbacks" / "task-image.json").read_text())
    assert reason == "there is no task image: [sentry] sentry_dsn is a secret, or has another value"


def test_all_kinds_of_a_platform_have_a_main_function() -> None:
    for kind in image.KINDS:
        module, _, function = kind.partition("=")[2].partition(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function))

"""Faults of real hosts during an apply: each is reported in one line, and the next apply completes the fleet.

The machines reach no mirror and have nothing in apt's cache: all of it is done with `--offline`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from deadline import APPLY_S, COMMAND_S, REQUEST_S, wait_until
from machines import Bed, Machine, why_not

pytestmark = [pytest.mark.hosts, pytest.mark.drill]

AIRFLEET = [sys.executable, "-m", "airfleet"]
ALL = "roles: [web, scheduler, worker, database, broker, balancer]"
DAG = """
import time
from airflow.sdk import dag, task

@dag(schedule=None, is_paused_upon_creation=False)
def naps():
    @task(queue="io")
    def nap(params=None):
        time.sleep(params["seconds"])
    nap()

naps()
"""
API, OTHER_API = 8080, 9090


class Pair:
    """A project of two machines: h1 has every role, h2 serves a queue."""

    def __init__(self, folder: Path, bed: Bed) -> None:
        self.folder, self.bed, self.api = folder, bed, API
        (folder / "dags").mkdir()
        (folder / "dags" / "naps.py").write_text(DAG)

    def write(self, *hosts: str, parallelism: int = 32, api: int = API) -> None:
        layout, pools = self.bed.layout, {"h1": f"{ALL}, pools: [default]", "h2": "pools: [io]"}
        if "h2" not in hosts:
            pools["h1"] = f"{ALL}, pools: [default, io]"
        named = "".join(f"  {name}: {{address: {self.bed[name].address}, {pools[name]}}}\n" for name in hosts)
        self.api = api
        (self.folder / "fleet.yaml").write_text(
            f"name: pair\nparallelism: {parallelism}\nports: {{api: {api}}}\n"
            f"ssh: {{user: ops, key: {layout.key}, known_hosts: {layout.known_hosts}}}\nhosts:\n{named}"
            "pools:\n  default: {concurrency: 2}\n  io: {concurrency: 2}\n"
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        timeout_s = APPLY_S if words[0] == "apply" else COMMAND_S
        return subprocess.run(
            [*AIRFLEET, *words], capture_output=True, text=True, check=False, timeout=timeout_s, cwd=self.folder
        )

    def fails(self, *words: str) -> str:
        """Run an apply that must fail; return its output."""
        done = self.run("apply", *words)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def settles(self) -> str:
        """Run an apply that must succeed and leave no change; return its output."""
        done = self.run("apply", "--offline")
        assert done.returncode == 0, done.stderr
        planned = self.run("plan", "--check")
        assert (planned.returncode, planned.stdout) == (0, ""), planned.stdout + planned.stderr
        return done.stderr

    @contextmanager
    def applying(self, until: Callable[[], bool]) -> Iterator[subprocess.Popen[str]]:
        """Run an apply; yield when it has reached a certain point."""
        with subprocess.Popen(
            [*AIRFLEET, "apply", "--offline"], stderr=subprocess.PIPE, text=True, cwd=self.folder
        ) as going:
            try:
                wait_until(lambda: until() or going.poll() is not None, "the point of the apply", timeout_s=COMMAND_S)
                yield going
            finally:
                going.kill()

    def killed(self, until: Callable[[], bool]) -> None:
        """Begin an apply and kill it when it has reached a certain point."""
        with self.applying(until) as going:
            assert going.poll() is None, going.stderr.read() if going.stderr else ""
            going.send_signal(signal.SIGKILL)

    def client(self) -> httpx.Client:
        base = f"http://{self.bed['h1'].address}:{self.api}"
        password = (self.folder / ".airfleet" / "secrets" / "admin_password").read_text()
        login = httpx.post(f"{base}/auth/token", json={"username": "admin", "password": password}, timeout=REQUEST_S)
        token = login.raise_for_status().json()["access_token"]
        return httpx.Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=REQUEST_S)

    def begin(self, seconds: float) -> str:
        body = {"logical_date": None, "conf": {"seconds": seconds}}
        with self.client() as client:
            return str(client.post("/api/v2/dags/naps/dagRuns", json=body).raise_for_status().json()["dag_run_id"])

    def task(self, run: str) -> tuple[str, str, int]:
        """Return state, host and try number of the run's task."""
        with self.client() as client:
            (task,) = client.get(f"/api/v2/dags/naps/dagRuns/{run}/taskInstances").json()["task_instances"]
        return task["state"] or "", task["hostname"] or "", task["try_number"]

    def ends(self, run: str) -> tuple[str, str, int]:
        wait_until(lambda: self.task(run)[0] in ("success", "failed"), "the task's end", every_s=1)
        return self.task(run)


def on(machine: Machine, command: str) -> bool:
    """Return whether a command succeeds on a machine."""
    try:
        return machine.run(command, check=False, timeout_s=30).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def unpacks(machine: Machine) -> bool:
    return on(machine, "test -d /opt/airfleet/.new-* && pgrep -x tar")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    if reason := why_not():
        pytest.skip(f"no machines can run here: {reason}")
    with Bed.create(2) as bed:
        bed.wait_ready()
        bed.go_offline("h1", "h2")
        made = Pair(tmp_path_factory.mktemp("pair"), bed)
        made.write("h1", "h2")
        yield made


def test_a_mirror_that_is_down_is_one_line_with_a_hint(pair: Pair) -> None:
    said = pair.fails()
    for host in ("h1", "h2"):
        (line,) = [line for line in said.splitlines() if line.startswith(f"{host}: install ")]
        assert "Failed to fetch" in line
    assert "apply --offline" in said


def test_an_apply_killed_at_every_turn_is_ended_by_the_next_without_a_mirror(pair: Pair) -> None:
    h1 = pair.bed["h1"]
    pair.killed(lambda: on(h1, "pgrep -x dpkg"))
    pair.killed(lambda: unpacks(h1))
    assert not on(h1, "ls -d /opt/airfleet/[0-9a-f]*")
    pair.killed(lambda: on(h1, "pgrep -f 'airflow db migrate'"))
    pair.settles()
    deployed = pair.run("release", "deploy", "-m", "first")
    assert deployed.returncode == 0, deployed.stderr
    assert pair.ends(pair.begin(0))[:2] == ("success", pair.bed["h2"].address)
    # Nothing of the shipping is left, and the host's own sources are as they were.
    assert on(h1, "! test -e /var/cache/airfleet-packages && ! grep -rq file: /etc/apt/sources.list*")


def test_two_at_once_and_one_is_told_who_applies(pair: Pair) -> None:
    pair.write("h1", "h2", parallelism=33)
    both = [
        subprocess.Popen([*AIRFLEET, "apply"], stderr=subprocess.PIPE, text=True, cwd=pair.folder) for _ in range(2)
    ]
    said = [one.communicate(timeout=COMMAND_S)[1] for one in both]
    assert sorted(one.returncode for one in both) == [0, 1], said
    assert any(" applies this fleet since " in text for text in said)
    pair.settles()


def test_a_host_that_reboots_in_the_middle_stops_nobody_else(pair: Pair) -> None:
    h2 = pair.bed["h2"]
    h2.run("sudo rm -rf /opt/airfleet/*")
    pair.write("h1", "h2", parallelism=34)
    with pair.applying(lambda: unpacks(h2)) as going:
        h2.console("systemctl reboot", check=False)
        said = going.communicate(timeout=COMMAND_S)[1]
    assert going.returncode == 1
    assert "\nh2: the connection " in said
    assert "h1: restart airfleet-scheduler.service" in said
    h2.wait_ready()
    pair.settles()


def test_a_disk_that_fills_in_the_middle_is_one_line_with_a_hint(pair: Pair) -> None:
    h2 = pair.bed["h2"]
    h2.run("sudo rm -rf /opt/airfleet/*")
    with pair.applying(lambda: unpacks(h2)) as going:
        h2.fill_disk()
        said = going.communicate(timeout=COMMAND_S)[1]
    h2.free_disk()
    assert going.returncode == 1
    assert "No space left on device\n  hint: the disk is full" in said
    pair.settles()


def test_every_secret_but_one_is_rotated_by_removing_it(pair: Pair) -> None:
    secrets = pair.folder / ".airfleet" / "secrets"
    old = (secrets / "admin_password").read_text()
    for secret in secrets.iterdir():
        if secret.is_file() and secret.name != "fernet_key":
            secret.unlink()
    pair.settles()
    login = f"http://{pair.bed['h1'].address}:{pair.api}/auth/token"
    assert httpx.post(login, json={"username": "admin", "password": old}, timeout=REQUEST_S).status_code == 401
    assert pair.ends(pair.begin(0))[0] == "success"


def test_a_port_is_changed_and_one_that_is_taken_is_told(pair: Pair) -> None:
    h1 = pair.bed["h1"]
    thief = f"sudo systemd-run --quiet --unit thief python3 -m http.server {OTHER_API}"
    h1.run(thief)
    pair.write("h1", "h2", parallelism=34, api=OTHER_API)
    wait_until(lambda: on(h1, f"ss -Hltn sport = :{OTHER_API} | grep -q ."), "the thief")
    assert f"h1: port {OTHER_API} is taken by python3" in pair.fails()
    h1.run("sudo systemctl stop thief")
    pair.settles()
    assert pair.ends(pair.begin(0))[0] == "success"
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{h1.address}:{API}/", timeout=5)


def test_a_host_is_removed_after_its_task_has_ended(pair: Pair) -> None:
    h2, run = pair.bed["h2"], pair.begin(75)
    wait_until(lambda: pair.task(run)[0] == "running", "the task's start", every_s=1)
    pair.write("h1", parallelism=34, api=OTHER_API)
    done = pair.run("apply")
    assert "stop and remove airfleet-worker-io.service" in done.stderr
    assert "[draining]" in done.stderr
    assert pair.ends(run) == ("success", h2.address, 1)
    wait_until(lambda: not on(h2, "systemctl status airfleet-worker-io"), "the worker's end", every_s=1)
    assert "h2 left the fleet" in pair.settles()
    assert (
        h2.run("ls -d /etc/airfleet/* /opt/airfleet/*; systemctl list-units -q 'airfleet-*'", check=False).stdout == ""
    )
    assert "airfleet" not in h2.run("sudo nft list tables").stdout
    assert pair.ends(pair.begin(0))[:2] == ("success", pair.bed["h1"].address)


def test_a_host_comes_back_and_leaves_while_it_is_off(pair: Pair) -> None:
    h2 = pair.bed["h2"]
    pair.write("h1", "h2", parallelism=34, api=OTHER_API)
    pair.settles()
    assert pair.ends(pair.begin(0))[:2] == ("success", h2.address)
    h2.pull_plug()
    pair.write("h1", parallelism=34, api=OTHER_API)
    assert "h2: removed from fleet.yaml, but it cannot be stopped" in pair.settles()
    h2.power_on()
    h2.wait_ready()
    assert "h2 left the fleet" in pair.settles()
    assert not on(h2, "systemctl list-units -q 'airfleet-*' | grep -q .")


def test_the_database_does_not_begin_anew_on_another_host(pair: Pair) -> None:
    text = (pair.folder / "fleet.yaml").read_text()
    moved = text.replace(pair.bed["h1"].address, pair.bed["h2"].address)
    (pair.folder / "fleet.yaml").write_text(moved)
    done = pair.run("apply")
    (pair.folder / "fleet.yaml").write_text(text)
    assert done.returncode == 2
    assert "would start an empty database; the data is on h1" in done.stderr

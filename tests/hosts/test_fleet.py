"""A fleet on a real machine: from empty to a finished task, then an empty plan; mistakes are reported in one line.

The fleet is made by the wheel in an environment of its own, as by a user who has no clone of the repository.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airfleet.spec.topology import ROLES
from deadline import COMMAND_S, REQUEST_S, wait_until
from installed import build_wheel, install
from machines import Bed, Machine, why_not
from machines.image import Recipe, ensure_image

PACKAGES = (
    *("haproxy", "nftables", "pgbackrest", "pgbouncer", "postgresql-15"),
    *("prometheus-node-exporter", "prometheus-postgres-exporter", "rabbitmq-server"),
    *("prometheus", "prometheus-alertmanager"),
)
DAG = """
from airflow.sdk import dag, task

@dag(schedule=None, default_args={"owner": "me", "retries": 1})
def hello():
    @task(queue="io")
    def say():
        return "hello"
    say()

hello()
"""


class Fleet:
    """A project whose fleet.yaml names machines of a bed."""

    def __init__(self, folder: Path, bed: Bed, program: Path) -> None:
        self.folder = folder
        self.bed = bed
        self.program = program
        (folder / "dags").mkdir()
        (folder / "dags" / "hello.py").write_text(DAG)

    def write(self, io: int = 2, user: str = "ops", more: str = "", *, roles: bool = False) -> None:
        own = f", roles: [{', '.join(ROLES)}]" if roles else ""
        (self.folder / "fleet.yaml").write_text(
            f"name: hosts\nssh: {{user: {user}, key: {self.bed.layout.key}, "
            f"known_hosts: {self.bed.layout.known_hosts}}}\n"
            f"hosts:\n  h1: {{address: {self.bed['h1'].address}{own}}}\n{more}"
            f"pools:\n  default: {{concurrency: 2, memory: 2G}}\n  io: {{concurrency: {io}}}\n"
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *arguments], capture_output=True, text=True, check=False, timeout=COMMAND_S, cwd=self.folder
        )

    def apply(self) -> dict[str, Any]:
        done = self.run("apply", "--json")
        assert done.returncode == 0, done.stderr
        body: dict[str, Any] = json.loads(done.stdout)
        return body

    def api(self) -> httpx.Client:
        base = f"http://{self.bed['h1'].address}:8080"
        password = (self.folder / ".airfleet" / "secrets" / "admin_password").read_text()
        login = httpx.post(f"{base}/auth/token", json={"username": "admin", "password": password}, timeout=REQUEST_S)
        token = login.raise_for_status().json()["access_token"]
        return httpx.Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=REQUEST_S)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    if reason := why_not():
        pytest.skip(f"no machines can run here: {reason}")
    with Bed.create(1, image=ensure_image(Recipe(fetched=PACKAGES))) as bed:
        bed.wait_ready()
        installed = tmp_path_factory.mktemp("installed")
        made = Fleet(tmp_path_factory.mktemp("fleet"), bed, install(build_wheel(installed), installed))
        made.write()
        yield made


@pytest.fixture(scope="module")
def applied(fleet: Fleet) -> Fleet:
    fleet.apply()
    return fleet


@pytest.fixture
def host(applied: Fleet) -> Machine:
    return applied.bed["h1"]


def test_before_anything_plan_says_what_would_be_done_and_does_nothing(fleet: Fleet) -> None:
    planned = fleet.run("plan", "--check", "--json")
    assert planned.returncode == 3, planned.stderr
    assert any(change["what"].startswith("install ") for change in json.loads(planned.stdout)["changes"])
    assert "missing" in fleet.bed["h1"].run("test -e /etc/airfleet || echo missing").stdout


def test_after_apply_plan_is_empty_and_a_second_apply_touches_nothing(applied: Fleet) -> None:
    planned = applied.run("plan", "--check")
    assert (planned.returncode, planned.stdout) == (0, ""), planned.stdout
    assert applied.apply()["changes"] == []


def test_a_task_runs_in_the_pool_of_its_queue_and_its_log_is_shown(applied: Fleet) -> None:
    deployed = applied.run("release", "deploy", "-m", "first")
    assert deployed.returncode == 0, deployed.stderr
    with applied.api() as api:
        api.patch("/api/v2/dags/hello", json={"is_paused": False}).raise_for_status()
        run = (
            api.post("/api/v2/dags/hello/dagRuns", json={"logical_date": None}).raise_for_status().json()["dag_run_id"]
        )
        where = f"/api/v2/dags/hello/dagRuns/{run}"
        wait_until(lambda: api.get(where).json()["state"] in ("success", "failed"), "the run to end", every_s=0.3)
        (task,) = api.get(f"{where}/taskInstances").json()["task_instances"]
        assert (task["state"], task["queue"], task["hostname"]) == ("success", "io", applied.bed["h1"].address)
        assert "Hostname not available" not in api.get(f"{where}/taskInstances/say/logs/1").text
    # The streams of a service are sockets of the journal, and the release was not on this host before.
    status = json.loads(applied.run("status", "--json").stdout)
    assert (status["warm_starts"], status["cold_starts"]) == (1, 0), status["paths"]
    assert status["fast_path_share"] == 1.0, status["paths"]


def test_a_worker_cannot_read_the_way_to_the_database(host: Machine) -> None:
    read = "sudo -u airfleet-worker sh -c 'cat /etc/airfleet/server/*/airflow.cfg' 2>&1 || true"
    assert "Permission denied" in host.run(read).stdout
    assert "sql_alchemy_conn" not in host.run("sudo sh -c 'cat /etc/airfleet/worker/*/airflow.cfg'").stdout


def test_one_pool_s_concurrency_touches_that_pool_only(applied: Fleet, host: Machine) -> None:
    touched = {"airfleet-worker-io.service"}

    def pids() -> dict[str, str]:
        names = "$(cd /etc/systemd/system; ls | grep ^airfleet-)"
        lines = host.run(f"for u in {names}; do echo $u $(systemctl show -P MainPID $u); done").stdout.splitlines()
        return dict(line.split() for line in lines)

    before = pids()
    applied.write(io=3)
    changed = [change["what"] for change in applied.apply()["changes"]]
    assert {what for what in changed if "restart" in what} == {f"restart {unit}" for unit in touched}
    after = pids()
    assert {unit for unit, pid in after.items() if before.get(unit) != pid} == touched


def test_what_somebody_changed_by_hand_is_found_and_mended(applied: Fleet, host: Machine) -> None:
    host.run("echo '# mine' | sudo tee -a /etc/airfleet/haproxy/balancer.cfg; sudo systemctl stop airfleet-triggerer")
    planned = applied.run("plan", "--check")
    assert planned.returncode == 3
    assert "-# mine" in planned.stdout
    assert "start airfleet-triggerer.service" in planned.stdout
    applied.apply()
    assert applied.run("plan", "--check").returncode == 0


def test_a_reboot_brings_everything_back_and_nothing_is_to_do(applied: Fleet, host: Machine) -> None:
    host.reboot()
    wait_until(lambda: applied.run("status").returncode == 0, "everything to be up again", every_s=1)
    assert applied.run("plan", "--check").returncode == 0


def test_a_host_that_does_not_answer_is_one_line_and_the_others_go_on(applied: Fleet) -> None:
    applied.write(io=5, more="  ghost: {address: 10.213.255.254, pools: [io]}\n", roles=True)
    done = applied.run("apply")
    applied.write(io=5)
    assert done.returncode == 1
    assert "ghost: 10.213.255.254 does not answer to SSH" in done.stderr
    assert "h1: restart airfleet-worker-io.service" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_login_is_one_line_with_a_hint(applied: Fleet) -> None:
    applied.write(io=5, user="nobody-here")
    done = applied.run("plan")
    applied.write(io=5)
    assert done.returncode == 1
    assert "h1: the host refuses the login as nobody-here" in done.stderr
    assert "hint: " in done.stderr


def test_two_applies_at_once_and_the_second_is_told_who_has_the_lease(applied: Fleet, host: Machine) -> None:
    lease = 'token-of-another\\n$(( $(date +%s) + 3600 ))\\n2026-01-01 10:00:00 UTC\\n\\"eve@elsewhere\\"\\n'
    host.run(f'printf "{lease}" | sudo tee /var/lib/airfleet/lease')
    applied.write(io=6)
    done = applied.run("apply")
    assert done.returncode == 1
    assert "eve@elsewhere applies this fleet since 2026-01-01 10:00:00 UTC" in done.stderr
    host.run("sudo rm /var/lib/airfleet/lease")
    applied.apply()


def test_an_apply_that_was_killed_is_followed_by_one_that_goes_on_at_once(applied: Fleet) -> None:
    applied.write(io=7)
    with subprocess.Popen([applied.program, "apply"], stderr=subprocess.PIPE, text=True, cwd=applied.folder) as going:
        assert going.stderr
        assert any("changes on 1 of 1 host" in line for line in going.stderr)
        going.kill()
    applied.apply()
    assert applied.run("plan", "--check").returncode == 0


@pytest.mark.parametrize(
    ("spoil", "mend", "told"),
    [
        # A file is enough to look like another system; nothing else of it is there.
        (
            "rm /etc/os-release; printf 'ID=rocky\\nVERSION_ID=9.4\\n' > /etc/os-release",
            "ln -sfn ../usr/lib/os-release /etc/os-release",
            "h1: rocky 9.4 is not supported",
        ),
        ("mv /etc/sudoers.d/ops /root/", "mv /root/ops /etc/sudoers.d/", "h1: cannot become root: sudo: a password"),
    ],
    ids=["another system", "no sudo"],
)
def test_a_host_that_cannot_be_worked_on_is_one_line(
    applied: Fleet, host: Machine, spoil: str, mend: str, told: str
) -> None:
    host.console(spoil)
    try:
        done = applied.run("plan")
    finally:
        host.console(mend)
    assert done.returncode == 1
    assert told in done.stderr
    assert "\n  hint: " in done.stderr


def test_a_service_is_not_moved_to_a_port_that_somebody_has(applied: Fleet, host: Machine) -> None:
    host.run("sudo systemd-run --quiet --unit thief python3 -m http.server 18990")
    wait_until(lambda: "18990" in host.run("ss -Hltn").stdout, "the thief", every_s=0.5)
    applied.write(io=7, more="ports: {api: 18990}\n")
    done = applied.run("plan")
    applied.write(io=7)
    host.run("sudo systemctl stop thief")
    assert "h1: port 18990 is taken by python3" in done.stderr
    assert applied.run("plan", "--check").returncode == 0

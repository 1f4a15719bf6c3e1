"""A fleet of three hosts that know each other by addresses of IPv6 alone, with a cluster of everything that has one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airfleet.components.host_model import AMQPS, ETCD, PGBOUNCER, PROMETHEUS, WORKER_LOGS
from airfleet.runners.fleet.transport import http_request
from airfleet.spec.addresses import join_port
from deadline import REQUEST_S, wait_until
from four import PACKAGES, Four, make_fleet

pytestmark = [pytest.mark.hosts, pytest.mark.drill]

ROLES = {
    "app1": "roles: [web, balancer, scheduler, database, broker]",
    "app2": "roles: [web, scheduler, database, broker, monitor, logs]",
    "work1": "roles: [worker, database, broker], pools: [default]",
}
MONITORING = ("prometheus", "prometheus-alertmanager")


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Four]:
    if not Path("/proc/sys/net/ipv6").exists():
        pytest.skip("this kernel has no IPv6")
    folder = tmp_path_factory.mktemp("six")
    with make_fleet(folder, ROLES, fetched=(*PACKAGES, *MONITORING), has_ipv6=True) as made:
        yield made


def read_log(six: Four, run: str) -> str:
    """Return the log of the task of a run, as the UI gets it."""
    content: Any = six.call("GET", f"/dags/sleeper/dagRuns/{run}/taskInstances/work/logs/1?full_content=true")
    return json.dumps(content["content"])


def find_primary(six: Four) -> str:
    script = "sudo -u postgres psql -XAtq -h /run/postgresql postgres -c 'SELECT pg_is_in_recovery()'"
    return next(name for name in ROLES if six.bed[name].run(script, check=False).stdout.strip() == "f")


def test_a_task_runs_its_log_is_shown_and_nothing_is_left_to_do(six: Four) -> None:
    [run] = six.begin(20, 1)
    task = six.call("GET", f"/dags/sleeper/dagRuns/{run}/taskInstances/work")
    assert task["hostname"] == six.bed["work1"].address
    # Airflow's own words for the place. Who asks there is led to a URL, which has brackets.
    place = f"http://{six.bed['work1'].address}:{WORKER_LOGS}"
    wait_until(lambda: all(one in read_log(six, run) for one in (place, "sleeper.py")), "the log of a task that runs")
    six.wait([run])
    assert "sleeper.py" in read_log(six, run), "from the index"
    assert six.run("plan", "--check").returncode == 0
    wait_until(lambda: six.run("status").returncode == 0, "all is well", every_s=5)


def test_services_of_other_hosts_are_reached_by_ipv6_and_nothing_listens_for_ipv4(six: Four) -> None:
    for port, host in ((PGBOUNCER, find_primary(six)), (AMQPS, "app2"), (ETCD, "app2"), (PROMETHEUS, "app2")):
        found = six.bed[host].run(f"sudo ss -Hltn 'sport = :{port}'").stdout
        assert join_port(six.bed[host].address, port) in found, found
        others = [line.split()[3] for line in found.splitlines()]
        assert not [one for one in others if not one.startswith(("127.", f"[{six.bed[host].address}]"))], found


def test_monitor_hosts_read_every_exporter_and_the_log_store_has_the_lines_of_a_task(six: Four) -> None:
    app2 = six.bed["app2"]
    url = f"https://{join_port(app2.address, PROMETHEUS)}/api/v1/targets?state=active"

    def list_down() -> list[str]:
        said = json.loads(app2.run(http_request.build_tls_command("python3", url, timeout_s=REQUEST_S)).stdout)
        targets = said["data"]["activeTargets"]
        assert len(targets) > len(ROLES)
        return [f"{one['scrapeUrl']}: {one['lastError']}" for one in targets if one["health"] != "up"]

    wait_until(lambda: not list_down(), "every target answers", every_s=5, seen=list_down)
    run = six.trigger(0)
    six.wait([run])

    def find_lines() -> str:
        return six.run("logs", "search", "--run", run, "--json").stdout.strip()

    wait_until(find_lines, "lines of the run", every_s=2)


def test_a_lost_primary_is_replaced_and_comes_back(six: Four) -> None:
    if find_primary(six) == "app1":
        # This test asks the balancer there.
        six.do("failover", "--database")
    lost = find_primary(six)
    assert lost != "app1"
    six.bed[lost].pull_plug()
    wait_until(lambda: can_trigger(six), "runs are accepted again", every_s=1)
    six.bed[lost].power_on()
    six.bed[lost].wait_ready()
    six.wait([six.trigger(0)])
    wait_until(lambda: six.run("status").returncode == 0, "all is well again", every_s=5)
    assert find_primary(six) != lost
    assert six.run("plan", "--check").returncode == 0


def can_trigger(six: Four) -> bool:
    try:
        return bool(six.trigger(0))
    except Exception:
        return False

"""Desired and present state give steps, and steps give scripts: all as data."""

from __future__ import annotations

import mmap
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from airfleet.components.host_model import HostFile, Stage
from airfleet.components.hosts import host_parts
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import diff, facts, steps, systemd_units
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.facts import HostFacts, Listener, MachineFacts, UnitFact
from airfleet.runners.fleet.plan.steps import Bring, Install, RemoveService, RunJob, Step, Unpack, WriteFile
from airfleet.spec.secrets import Secret
from converged_hosts import converged
from deadline import PATIENCE_S
from places import CREDENTIALS, NINE, config_path, desired, parse, place, with_setting

PROBE = MachineFacts(
    ("debian", "12"), "x86_64", 4, 16 << 30, "systemd", ("10.0.0.31",), (22,), {"/": 90 << 30}, frozenset(), (), ""
)


def of(kind: type, found: tuple[Step, ...]) -> list[Step]:
    return [step for step in found if isinstance(step.action, kind)]


@pytest.mark.parametrize("host", ["web1", "sched1", "cpu1", "data1"])
def test_after_an_apply_there_is_nothing_to_do(host: str) -> None:
    want = desired(host)
    assert diff.decide(want, converged(want)) == ()


@pytest.mark.parametrize("host", ["web1", "sched1", "cpu1", "data1"])
def test_an_empty_host_gets_everything_and_in_the_order_of_the_stages(host: str) -> None:
    found = diff.decide(desired(host), HostFacts())
    assert [step.stage for step in found] == sorted(step.stage for step in found)
    kinds = [type(step.action).__name__ for step in found]
    assert kinds.index("Mask") < kinds.index("Install") < kinds.index("MakeFolder")
    assert max(i for i, kind in enumerate(kinds) if kind == "WriteFile") < kinds.index("Bring")


def test_a_changed_pool_touches_its_own_service_only() -> None:
    before = desired("cpu1")
    after = desired("cpu1", with_setting(NINE, "cpu: {concurrency: 4", "cpu: {concurrency: 5"))
    found = diff.decide(after, converged(before))
    (bring,) = of(Bring, found)
    assert bring.what == "restart airfleet-worker-cpu.service"
    written = {step.action.file.path.name for step in found if isinstance(step.action, WriteFile)}
    assert written == {"airfleet-worker-cpu.service"}


def test_a_changed_file_is_announced_to_who_can_read_it_again() -> None:
    before = desired("web1")
    after = desired("web1", with_setting(NINE, "  web2: {address: 10.0.0.12, roles: [web]}\n", ""))
    brings = {step.what for step in of(Bring, diff.decide(after, converged(before)))}
    assert brings == {"reload airfleet-balancer.service"}


@pytest.mark.parametrize(
    ("old", "new", "how"),
    [
        ("  io1:", "  io2: {address: 10.0.0.34, pools: [io]}\n  io1:", {"reload airfleet-postgresql.service"}),
        (
            "  web1:",
            "  web9: {address: 10.0.0.19, roles: [web]}\n  web1:",
            {"reload airfleet-postgresql.service", "reload airfleet-pgbouncer.service"},
        ),
        (
            "databases: [warehouse]",
            "databases: [warehouse, lake]",
            {"reload airfleet-postgresql.service", "reload airfleet-pgbouncer.service"},
        ),
        (
            "address: 10.0.0.41",
            "address: 10.0.0.42",
            {"restart airfleet-postgresql.service", "restart airfleet-pgbouncer.service"},
        ),
    ],
    ids=["a client", "a web host", "a database", "an address"],
)
def test_a_database_server_stops_only_for_what_it_reads_at_its_start(old: str, new: str, how: set[str]) -> None:
    credentials = replace(
        CREDENTIALS, platform=replace(CREDENTIALS.platform, databases=dict.fromkeys(("warehouse", "lake"), Secret("x")))
    )

    def want(text: str) -> DesiredHost:
        where = replace(place(parse(text), "data1"), credentials=credentials)
        return DesiredHost(where, host_parts.describe(where, ssh_ports=(22,)))

    with_replica = with_setting(NINE, "[web, monitor]", "[web, monitor, database]")
    found = diff.decide(want(with_setting(with_replica, old, new)), converged(want(with_replica)))
    stores = {step.what for step in of(Bring, found) if step.stage in (Stage.STORES, Stage.POOLER)}
    assert {what for what in stores if "rabbitmq" not in what} == how


def test_a_pool_that_is_gone_is_stopped_and_its_files_go() -> None:
    before = desired("cpu1")
    moved = with_setting(NINE, "pools: [default, cpu]", "pools: [default]")
    after = desired("cpu1", with_setting(moved, "pools: [memory]", "pools: [memory, cpu]"))
    found = diff.decide(after, converged(before))
    assert [step.action for step in of(RemoveService, found)] == [RemoveService("airfleet-worker-cpu.service")]


def test_a_crash_between_a_file_and_its_restart_is_noticed() -> None:
    want = desired("cpu1")
    stood = converged(want)
    stale = {**stood.units, "airfleet-worker-cpu.service": UnitFact("active", "enabled", "old\nold\n")}
    (step,) = diff.decide(want, replace(stood, units=stale))
    assert step.what == "restart airfleet-worker-cpu.service"


def test_a_dead_service_is_started_and_a_failed_job_is_run_again() -> None:
    want = desired("data1")
    stood = converged(want)
    dead = {**stood.units, "airfleet-rabbitmq.service": UnitFact("failed", "enabled", "")}
    found = diff.decide(want, replace(stood, units=dead, jobs={}))
    assert "start airfleet-rabbitmq.service" in {step.what for step in of(Bring, found)}
    assert [step.action.job.name for step in found if isinstance(step.action, RunJob)] == [
        "postgresql-create",
        "postgresql-roles",
        "rabbitmq-logins",
        "postgresql-former",
        "rabbitmq-former",
    ]


def test_a_file_somebody_changed_by_hand_is_shown_as_a_diff_and_a_secret_never() -> None:
    want = desired("web1")
    stood = converged(want)
    path = "/etc/airfleet/haproxy/balancer.cfg"
    secret = config_path("server")
    changed = {
        **stood.files,
        path: replace(stood.files[path], digest="x", content="# by hand\n"),
        secret: replace(stood.files[secret], digest="x"),
    }
    found = {step.what: step for step in diff.decide(want, replace(stood, files=changed))}
    assert "-# by hand" in found[f"write {path}"].diff
    assert found[f"write {secret}"].diff == ""


def test_what_makes_work_impossible_is_told_before_anything_is_done() -> None:
    want = desired("data1")
    taken = replace(PROBE, listeners=(Listener(5432, "postgres", 7),), free={"/": 1 << 20})
    whats = [obstacle.what for obstacle in diff.find_obstacles(want, taken, HostFacts())]
    assert whats == [
        "only 1 MiB are free on /, and 3072 MiB are needed",
        "port 5432 is taken by postgres (pid 7); PostgreSQL needs it",
    ]
    assert not list(diff.find_obstacles(want, replace(taken, free={}), converged(want)))


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (None, None),
        (1005, None),
        (971, None),
        (1310, "its clock is 300 s ahead of this machine's"),
        (700, "its clock is 300 s behind this machine's"),
    ],
)
def test_a_clock_is_wrong_only_when_no_moment_between_question_and_answer_explains_it(
    said: int | None, what: str | None
) -> None:
    found = diff.find_wrong_clock("h1", said, asked=1000.0, answered=1010.0)
    assert [obstacle.what for obstacle in found] == ([what] if what else [])


def test_pools_that_do_not_fit_into_the_machine_are_refused() -> None:
    want = desired("memory1", memory=4 << 30)
    (obstacle,) = diff.find_obstacles(want, PROBE, HostFacts())
    assert obstacle.what == "its pools may use 8192 MiB together, and it has 4096 MiB"


def test_scripts_hold_a_secret_in_no_line_that_a_shell_would_print() -> None:
    for step in diff.decide(desired("sched1"), HostFacts()):
        if isinstance(step.action, WriteFile | RunJob):
            assert "s3cret" not in steps.script(step.action)
        assert "s3cret" not in f"{step.what} {step.why} {step.diff}"


def test_packages_of_all_parts_are_installed_together() -> None:
    (step,) = of(Install, diff.decide(desired("data1"), HostFacts(packages=frozenset({"ca-certificates"}))))
    assert isinstance(step.action, Install)
    assert {"postgresql-15", "pgbouncer", "rabbitmq-server", "nftables"} <= set(step.action.packages)
    assert "ca-certificates" not in step.action.packages


def test_a_data_host_carries_no_airflow() -> None:
    assert of(Unpack, diff.decide(desired("data1"), HostFacts())) == []
    assert len(of(Unpack, diff.decide(desired("cpu1"), HostFacts()))) == 1


def test_a_lock_loses_whole_packages() -> None:
    lock = "a==1 \\\n    --hash=sha256:1\nuv==2 \\\n    --hash=sha256:2 \\\n    --hash=sha256:3\nuvloop==3\n"
    assert airflow_archive.drop_packages(lock, frozenset({"uv"})) == "a==1 \\\n    --hash=sha256:1\nuvloop==3\n"


def test_a_recipe_s_name_moves_with_everything_in_it(tmp_path: Path) -> None:
    def read(airflow: str) -> airflow_archive.Recipe:
        return airflow_archive.read_recipe(tmp_path, None, airflow=airflow, python="python3.11", arch="x86_64")

    recipe = read("3.3.2")
    assert recipe.digest == read("3.3.2").digest
    others = [
        replace(recipe, python="3.12"), replace(recipe, packages="x"), replace(recipe, requirements="y"),
        replace(recipe, provider=()), read("3.3.1"),
    ]  # fmt: skip
    assert len({recipe.digest, *(other.digest for other in others)}) == 6
    assert "paramiko" not in recipe.packages
    assert "apache-airflow-core==3.3.2" in recipe.versions


def test_a_unit_keeps_odd_values_as_they_are() -> None:
    service = next(one for one in desired("cpu1").services if one.name == "worker-cpu")
    odd = replace(service, env={"A": 'say "50%" \\'}, command=("/bin/x", "a b", "$HOME", "100%"))
    text = systemd_units.render(odd)
    assert r'Environment="A=say \"50%%\" \\"' in text
    assert 'ExecStart=/bin/x "a b" $$HOME 100%%' in text


def test_a_worker_has_drained_before_its_host_stops_what_tasks_need() -> None:
    found = {one.name: systemd_units.render(one) for one in desired("cpu1").services}
    (after,) = [line for line in found["worker-cpu"].splitlines() if line.startswith("After=")]
    assert "airfleet-proxy.service" in after.split()
    assert "airfleet-worker" not in after
    assert "airfleet-proxy" not in found["worker-logs"]


def test_a_step_waits_for_nothing_that_still_drains(tmp_path: Path) -> None:
    """With systemd's own order a service stops after the pools that need it, though they take an hour for it."""
    service = next(one for one in desired("cpu1").services if one.name == "worker-cpu")
    run_with(tmp_path, '*restart*) echo "$*" > asked; exit 1;;', steps.script(Bring(service, "restart")))
    asked = (tmp_path / "asked").read_text()
    assert asked == "--no-block --job-mode=ignore-dependencies restart airfleet-worker-cpu.service\n"


def test_a_file_is_put_in_place_whole() -> None:
    script = steps.script(WriteFile(HostFile(Path("/etc/airfleet/x"), "hi", "airfleet", 0o640)))
    assert script.index("chmod") < script.index("mv -f")


def test_the_end_of_a_service_is_awaited_for_as_long_as_systemd_may_take_but_not_that_of_tasks() -> None:
    def wait_s(unit: str) -> float:
        tries = re.search(r"TIMES=(\d+)", steps.script(RemoveService(unit)))
        assert tries
        return int(tries[1]) * 0.2

    services = [one for name in ("data1", "web1", "sched1") for one in desired(name).services]
    assert all(one.stop_s < wait_s(one.unit) for one in services)
    assert wait_s("airfleet-worker-cpu.service") < 60


def test_a_service_that_drains_keeps_its_unit_until_it_has_stopped() -> None:
    script = steps.script(RemoveService("airfleet-worker-cpu.service"))
    assert script.index("inactive|failed") < script.index("rm -f")


def test_what_a_job_left_to_let_a_service_start_goes_with_the_service(tmp_path: Path) -> None:
    """Patroni's unit starts where a file is that the check of the data left; the check has to be made again."""
    (tmp_path / "units").mkdir()
    left, kept = tmp_path / "lib" / "adopted.env", tmp_path / "etc" / "own.env"
    for path in (left, kept):
        path.parent.mkdir()
        path.touch()
    unit = tmp_path / "units" / "airfleet-x.service"
    unit.write_text(f"[Service]\nEnvironmentFile={left}\nEnvironmentFile={kept}\nExecStart=/bin/true\n")
    script = steps.script(RemoveService("airfleet-x.service"))
    for real, here in {"/etc/systemd/system": "units", "/var/lib/airfleet": "lib", "/etc/airfleet": "etc"}.items():
        script = script.replace(real, str(tmp_path / here))
    done = run_with(tmp_path, "*ActiveState*) echo inactive;;", script)
    assert (done.returncode, unit.exists(), left.exists(), kept.exists()) == (0, False, False, True), done.stderr


def test_a_firewall_that_is_no_longer_wanted_takes_its_table_along() -> None:
    service = next(one for one in desired("cpu1").services if one.name == "firewall")
    assert "ExecStop=/usr/sbin/nft delete table inet airfleet" in systemd_units.render(service)
    without = desired("cpu1", f"{NINE}firewall: false\n")
    found = diff.decide(without, converged(desired("cpu1")))
    assert RemoveService("airfleet-firewall.service") in [step.action for step in found]


def run_with(tmp_path: Path, systemctl: str, script: str, *programs: str) -> subprocess.CompletedProcess[str]:
    """Run a script with a made-up systemctl, which keeps its count in a file."""
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\ncd {tmp_path}\ncase "$*" in {systemctl} esac\n')
    (tmp_path / "systemctl").chmod(0o755)
    for program in ("journalctl", *programs):
        (tmp_path / program).symlink_to("/bin/true")
    return subprocess.run(
        ["sh", "-c", script],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


COUNTS_UP = "*NRestarts*) n=$(cat n 2>/dev/null || echo 0); echo $n; echo $(( n + 1 )) > n;; *MainPID*) echo 7;;"


@pytest.mark.parametrize(("restarts", "code"), [("*NRestarts*) echo 4;; *MainPID*) echo 7;;", 0), (COUNTS_UP, 1)])
def test_a_service_without_a_health_of_its_own_must_stay_for_some_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: str, code: int
) -> None:
    # One that ends must be noticed before its time is over, however slow this machine is.
    monkeypatch.setattr(steps, "STEADY_S", 50 if code else 2)
    service = next(one for one in desired("sched1").services if one.name == "releaser")
    assert service.health is None
    script = steps.script(Bring(service, "restart"))
    done = run_with(tmp_path, f"is-active*) exit 0;; {restarts}", script, "cmp")
    assert done.returncode == code, done.stderr
    assert ("started again and again" in done.stderr) == bool(code)


@pytest.mark.parametrize("name", ["scheduler", "dag-processor", "triggerer", "releaser"])
def test_a_process_that_crashes_again_and_again_is_not_healthy(tmp_path: Path, name: str) -> None:
    service = next(one for one in desired("sched1").services if one.name == name)
    script = steps.script(Bring(service, "restart")).replace("/run/airfleet", str(tmp_path / "run"))
    script = script.replace("/etc/airfleet", str(tmp_path / "etc"))
    for folder in ("run", "etc/units"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / service.unit).write_text("same")
    # It is active each time that somebody looks, and what it should have done by now is not to be seen.
    systemctl = f"is-active*) exit 0;; {COUNTS_UP} *ActiveState*) echo active;;"
    (tmp_path / "runuser").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "runuser").chmod(0o755)
    done = run_with(tmp_path, systemctl, script)
    assert done.returncode == 1
    assert f"{service.unit} ends and is started again and again" in done.stderr


def test_a_scheduler_is_healthy_once_the_database_tells_of_this_very_process(tmp_path: Path) -> None:
    services = {one.name: systemd_units.check(one) for one in desired("sched1").services}
    assert "probe $(systemctl show -P MainPID airfleet-scheduler.service) seat sched1 10" in services["scheduler"]
    assert "heartbeat DagProcessorJob 10.0.0.21 30" in services["dag-processor"]
    assert "heartbeat TriggererJob 10.0.0.21 30" in services["triggerer"]


def test_one_file_that_does_not_compile_stops_no_unpacking(tmp_path: Path) -> None:
    """As pip, which lets a package keep files that are no Python of this version."""
    packages = tmp_path / "root" / "lib"
    packages.mkdir(parents=True)
    (packages / "good.py").write_text("a = 1\n")
    (packages / "bad.py").write_text("print 'Python 2'\n")
    (tmp_path / "root" / "bin").mkdir()
    (tmp_path / "root" / "bin" / "python3.11").symlink_to(sys.executable)
    archive = subprocess.run(["tar", "-C", str(tmp_path / "root"), "-cz", "."], capture_output=True, check=True).stdout
    script = steps.script(Unpack("d1", "python3.11")).replace("/opt/airfleet", str(tmp_path / "opt"))
    done = subprocess.run(["sh", "-c", f"set -e\n{script}"], input=archive, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "opt" / "d1" / "lib" / "__pycache__").glob("good.*.pyc"))
    assert (tmp_path / "opt" / "d1" / "lib" / "bad.py").exists()


def test_archives_that_nobody_uses_any_more_go(tmp_path: Path) -> None:
    day = airflow_archive.UNUSED_S + 60
    for number in range(airflow_archive.KEPT_ARCHIVES + 3):
        (tmp_path / f"a{number}.tar.gz").touch()
        os.utime(tmp_path / f"a{number}.tar.gz", (0, 10 * day - number * day))
    for name, age in ((".build-old", 2 * day), (".build-now", 0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 10 * day - age))
    airflow_archive.prune(tmp_path, now=10 * day)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {*(f"a{number}.tar.gz" for number in range(airflow_archive.KEPT_ARCHIVES)), ".build-now"}
    airflow_archive.prune(tmp_path, now=day)
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_name_is_resolved_on_its_host_and_listened_on() -> None:
    text = with_setting(NINE, "10.0.0.31", "cpu1.example")
    probe = facts.parse_probe(
        "@@airfleet@@ addresses\n127.0.0.1\n10.0.0.31\n@@airfleet@@ named\n127.0.1.1\n10.0.0.31\n"
    )
    want = desired("cpu1", text)
    machine = replace(want.place.machine, addresses=probe.addresses, named=probe.named)
    assert replace(want.place, machine=machine).listen == "10.0.0.31"
    assert replace(want.place, machine=machine).own_address == "10.0.0.31"


@pytest.mark.parametrize(("firewall", "count"), [("true", 0), ("false", 1)])
def test_without_a_firewall_no_host_listens_on_every_address(firewall: str, count: int) -> None:
    text = with_setting(NINE, "10.0.0.31", "cpu1.example") + f"firewall: {firewall}\n"
    want = desired("cpu1", text)
    behind_nat = replace(want.place.machine, addresses=("127.0.0.1", "192.168.7.7"))
    want = DesiredHost(replace(want.place, machine=behind_nat), want.parts)
    obstacles = list(diff.find_obstacles(want, PROBE, converged(want)))
    assert len(obstacles) == count
    assert all("listen on every one" in one.what for one in obstacles)


def test_packages_are_found_by_what_a_process_has_loaded_though_it_calls_itself_otherwise(tmp_path: Path) -> None:
    """A worker's tasks do so: their command line names the task."""
    library = tmp_path / "opt" / "airfleet" / "0123abcd" / "lib.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(bytes(mmap.PAGESIZE))
    script = steps.list_running_packages().replace("OPT=/opt/airfleet", f"OPT={library.parents[1]}")

    def look() -> str:
        return subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE_S
        ).stdout

    assert look() == ""
    program = (
        "import mmap, sys; f = open(sys.stdin.readline()[:-1], 'r+b'); m = mmap.mmap(f.fileno(), 0); print(flush=True)"
    )
    words = ["task", "-c", f"{program}; sys.stdin.read()"]
    with subprocess.Popen(words, executable=sys.executable, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{library}\n")
        process.stdin.flush()
        process.stdout.readline()
        assert look() == "0123abcd\n"
        process.stdin.close()
    assert look() == ""

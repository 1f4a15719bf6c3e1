"""A small fleet in systemd's sandboxes, and the commands that inspect it, run commands on it and stop it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import access_on_fleet
from airfleet.components.host_model import (
    AMQP,
    AMQPS,
    API,
    API_TLS,
    AUTHORITIES,
    EXECUTION,
    EXECUTION_TLS,
    PGBOUNCER,
    POSTGRES,
    WORKER_LOGS,
)
from captures import Capture
from deadline import COMMAND_S, PATIENCE_S, wait_until
from four import AIRFLEET, Four, make_fleet
from slapd_node import MISSING, PROGRAM, SERVICE_PASSWORD, SlapdNode
from terminals import open_terminal

pytestmark = [pytest.mark.hosts, pytest.mark.drill]

ROLES = {
    "app1": "roles: [web, balancer, broker, scheduler, database, logs]",
    "app2": "roles: [worker], pools: [default]",
}
MOST_EXPOSED = 2.0
ODD = 'it\'s "odd" $HOME $$ 100% \\ é *\nsecond line'
# The ports without TLS that earlier versions opened to other hosts.
CLEAR = (AMQP, API, EXECUTION)
# What AMQP's login without TLS shows.
LOGINS = (b"pool-default", b"PLAIN")
# What a sandbox that takes too much leaves in a journal.
REFUSED = "Read-only file system|Operation not permitted|Permission denied|SIGSYS|audit.*SECCOMP|NAMESPACE|EPERM"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Four]:
    with make_fleet(tmp_path_factory.mktemp("two"), ROLES) as made:
        yield made


def airflow(two: Four, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AIRFLEET, "airflow", *words],
        cwd=two.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_S,
        **options,  # type: ignore[call-overload]
    )


def units(two: Four, host: str) -> list[str]:
    """Return the units that run or are starting. A unit that has stopped, also after a time-out, is not among them."""
    states = "--state=active,activating,deactivating"
    said = two.bed[host].run(f"systemctl list-units --plain --no-legend {states} 'airfleet-*' | cut -d' ' -f1").stdout
    return said.split()


def left_words(two: Four) -> str:
    """Return the files with words of commands that are left on the scheduler host."""
    return two.bed["app1"].run("sudo find /run/airfleet-commands -type f").stdout


def test_everything_works_in_its_sandbox_and_no_service_is_exposed(two: Four) -> None:
    two.wait([two.trigger(0), two.trigger(1)])
    two.do("db", "backup")
    two.do("workers", "drain", "app2", "--timeout", "120")
    two.do("workers", "resume", "app2")
    two.wait([two.trigger(0)])
    assert two.run("plan", "--check").returncode == 0
    for host in ROLES:
        said = two.bed[host].run(f"sudo journalctl -q -b -u 'airfleet-*' | grep -E '{REFUSED}' || true").stdout
        assert said == "", host
        levels = two.bed[host].run("systemd-analyze security --no-pager | grep airfleet-").stdout
        exposed = [line for line in levels.splitlines() if float(line.split()[1]) > MOST_EXPOSED]
        assert levels
        assert not exposed
        print(levels)


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_who_may_do_what_is_kept_proved_and_ended_on_a_fleet(
    two: Four, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LDAP_PASSWORD", SERVICE_PASSWORD)
    node = SlapdNode(tmp_path / "slapd", address=two.bed.layout.gateway)
    try:
        access_on_fleet.write(two, node)
        two.do("apply")
        two.do("release", "deploy", "-m", "readers")
        access_on_fleet.check_logins(two)
        access_on_fleet.check_lists_and_audit(two)
        access_on_fleet.check_drift(two)
        access_on_fleet.check_doctor(two)
        two.token = ""
        _, una = access_on_fleet.log_in(two, "una", "of una")
        two.write()
        two.do("apply")
        # Airflow keeps users in memory for 30 s.
        wait_until(
            lambda: access_on_fleet.list_dags(two, una)[0] in (401, 403),
            "the end of una, whom nobody confirms any more",
            every_s=1,
        )
        assert "directory.json" not in two.bed["app1"].run("sudo find /etc/airfleet").stdout
    finally:
        node.stop()


def test_no_row_login_or_token_crosses_the_network_in_clear(two: Four) -> None:
    ports = {POSTGRES, PGBOUNCER, AMQPS, API_TLS, EXECUTION_TLS, WORKER_LOGS, *CLEAR}
    with Capture(two.bed.layout.bridge, ports=ports) as capture:
        two.wait([two.trigger(0)])
        assert airflow(two, "variables", "list").returncode == 0
        # The worker logs in again.
        two.bed["app2"].run("sudo systemctl restart airfleet-worker-default")
        two.wait([two.trigger(0)])
    assert capture.packets, "the worker stored no result meanwhile"
    for clear in (b"airfleet_results", b"SCRAM-SHA-256", b"INSERT INTO", b"success", *LOGINS, b"Bearer ", b"HTTP/1."):
        assert clear not in capture.seen, clear
    for port in CLEAR:
        opens = (
            f"timeout 5 bash -c 'exec 3<>/dev/tcp/{two.bed['app1'].address}/{port}' 2>/dev/null && echo open || true"
        )
        assert two.bed["app2"].run(opens).stdout == "", port
    ask = f"exec 3<>/dev/tcp/{two.bed['app2'].address}/{WORKER_LOGS}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    said = two.bed["app1"].run(f'timeout 5 bash -c "{ask}" 2>/dev/null | head -c 4 || true')
    assert said.stdout != "HTTP", "the logs of tasks are there without TLS too"
    for port, words in ((POSTGRES, "-starttls postgres"), (AMQPS, ""), (API_TLS, ""), (EXECUTION_TLS, "")):
        host = "127.0.0.1" if port == POSTGRES else two.bed["app1"].address
        said = two.bed["app1"].run(
            f"sudo openssl s_client -connect {host}:{port} {words} -verify_return_error -verify_ip"
            f" {two.bed['app1'].address} -CAfile {AUTHORITIES} </dev/null 2>&1 | grep -E 'Verif|Protocol|TLSv1'"
        )
        assert "Verification: OK" in said.stdout, port
        assert "TLSv1.3" in said.stdout, port


def test_airflow_s_command_line_runs_there_with_exact_words_input_and_exit_code(two: Four) -> None:
    began = time.monotonic()
    assert "sleeper" in airflow(two, "dags", "list", "-o", "json").stdout
    print(f"dags list took {time.monotonic() - began:.1f} s")
    assert airflow(two, "variables", "set", "odd", ODD).returncode == 0
    assert airflow(two, "variables", "get", "odd").stdout == f"{ODD}\n"
    assert airflow(two, "variables", "get", "nothing").returncode == 1
    assert left_words(two) == ""
    who = ("-u", "ann", "-r", "Viewer", "-e", "ann@example.com", "-f", "Ann", "-l", "N")
    made = airflow(two, "users", "create", *who, input="s3cret\ns3cret\n")
    assert made.returncode == 0, made.stderr
    assert "ann" in airflow(two, "users", "list").stdout
    assert airflow(two, "db", "reset", "--yes").returncode == 2
    assert "--host" in two.run("airflow", "--help").stdout
    assert airflow(two, "--host", "app2", "info").returncode == 2


def test_an_interrupt_ends_the_command_there(two: Four) -> None:
    who = ("-u", "bob", "-r", "Viewer", "-e", "bob@example.com", "-f", "Bob", "-l", "N")
    command = [*AIRFLEET, "airflow", "users", "create", *who]
    with subprocess.Popen(
        command, cwd=two.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        wait_until(lambda: any("command" in unit for unit in units(two, "app1")), "the command")
        assert process.stdout
        shown = b""
        while b"assword" not in shown:
            more = os.read(process.stdout.fileno(), 4096)
            assert more, f"ended before it asked for the password: {shown!r}"
            shown += more
        # Every user of a host can see the arguments of its processes.
        seen = two.bed["app1"].run("ps axww -o args").stdout
        assert "airfleet-command" in seen
        assert "bob@example.com" not in seen
        assert left_words(two) == ""
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    assert not any("command" in unit for unit in units(two, "app1"))
    assert left_words(two) == ""
    assert "bob" not in airflow(two, "users", "list").stdout


def test_an_interrupt_that_comes_before_airflow_has_started_there_ends_the_command_too(two: Four) -> None:
    command = [*AIRFLEET, "airflow", "variables", "set", "early", "1"]
    with subprocess.Popen(command, cwd=two.folder, stdout=subprocess.DEVNULL) as process:
        # Its words are there for less time than a look takes. Airflow's start takes seconds, so nothing is done yet.
        started = lambda: left_words(two) or any("command" in unit for unit in units(two, "app1"))  # noqa: E731
        wait_until(started, "the command")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) != 0
    assert left_words(two) == ""
    assert airflow(two, "variables", "get", "early").returncode == 1


def test_with_a_terminal_the_command_has_one_and_its_keys(two: Four) -> None:
    who = ("-u", "eve", "-r", "Viewer", "-e", "eve@example.com", "-f", "Eve", "-l", "N")
    with open_terminal([*AIRFLEET, "airflow", "users", "create", *who], cwd=two.folder) as terminal:
        terminal.read_until(b"assword")
        terminal.type(b"\x03")
        assert terminal.wait() == 130, terminal.said
    with open_terminal([*AIRFLEET, "airflow", "users", "create", *who], cwd=two.folder) as terminal:
        terminal.read_until(b"assword:")
        terminal.type(b"s3cret\n")
        terminal.read_until(b"epeat")
        terminal.type(b"s3cret\n")
        assert terminal.wait() == 0, terminal.said
        assert b"s3cret" not in terminal.said, "the terminal shows no password"
    assert "eve" in airflow(two, "users", "list").stdout
    assert not any("command" in unit for unit in units(two, "app1"))
    assert left_words(two) == ""


def test_logs_of_all_hosts_and_what_a_doctor_sees(two: Four) -> None:
    said = two.do("logs", "-n", "5")
    assert {line.split(" | ")[0].strip() for line in said.splitlines()} == set(ROLES)
    assert "app1" not in two.do("logs", "worker-default", "-n", "5")
    assert two.run("logs", "nobody").returncode == 2
    assert two.run("logs", "scheduler", "--since", "nonsense").returncode == 2
    with subprocess.Popen([*AIRFLEET, "logs", "-f", "-n", "1"], cwd=two.folder, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)
    for host in ROLES:
        wait_until(
            lambda host=host: two.bed[host].run("pgrep -x -u root journalctl || true").stdout == "",  # type: ignore[misc]
            f"nobody follows on {host}",
        )
    findings = {one["subject"]: one for one in json.loads(two.run("doctor", "--json").stdout)}
    print(json.dumps(findings, indent=1))
    assert [one for one in findings.values() if one["level"] == "error"] == []
    for host in ROLES:
        assert findings[host]["level"] == "ok"
        assert "give or take" in findings[f"{host}: clock"]["what"]


def find_lines(two: Four, *words: str) -> Counter[str]:
    """Return how often each line that a search finds is in the log store."""
    said = two.run("logs", "search", *words, "-n", "100000", "--json").stdout
    return Counter(str(json.loads(line)["text"]) for line in said.splitlines())


def test_lines_of_all_hosts_are_kept_once_over_deaths_of_agent_store_network_and_host(two: Four) -> None:
    two.wait([two.trigger(0)])
    path = "/var/log/airfleet/tasks/dag_id=chat/run_id=r/task_id=talk"
    event = '{"timestamp": "%s", "level": "info", "event": "zebra %d", "logger": "task"}\\n'
    talk = f"for i in $(seq 400); do printf '{event}' \"$(date -Is)\" $i >> {path}/attempt=1.log; sleep 0.05; done"
    two.bed["app2"].run(f"sudo -u airfleet-worker mkdir -p {path}")
    two.bed["app2"].run(f"sudo systemd-run -q --unit=talk --uid=airfleet-worker sh -c {shlex.quote(talk)}")
    chat = "for i in $(seq 400); do echo giraffe $i; sleep 0.05; done"
    # Without a description, systemd's own line about the unit has the command, and so the word.
    two.bed["app2"].run(f"sudo systemd-run -q --unit=airfleet-chat --description=chat sh -c {shlex.quote(chat)}")
    for _ in range(3):
        two.bed["app2"].run("sudo systemctl kill --signal=KILL airfleet-log-agent")
        time.sleep(2)
        two.bed["app1"].run("sudo systemctl kill --signal=KILL airfleet-log-store")
        time.sleep(2)
    two.bed.partition(["app1"], ["app2"])
    time.sleep(10)
    two.bed.heal()
    for word in ("zebra", "giraffe"):
        wanted = Counter({f"{word} {number}": 1 for number in range(1, 401)})
        wait_until(
            lambda word=word: len(find_lines(two, word)) == 400,  # type: ignore[misc]
            f"all lines with {word}",
            every_s=2,
            seen=lambda word=word: len(find_lines(two, word)),  # type: ignore[misc]
        )
        assert find_lines(two, word) == wanted
    said = two.run("logs", "search", "giraffe", "--host", "app2", "--component", "chat", "-n", "1", "--json")
    assert json.loads(said.stdout)["host"] == "app2"


def test_a_log_is_in_the_ui_and_found_when_its_host_is_gone(two: Four) -> None:
    run = two.trigger(0)
    two.wait([run])
    path = f"/dags/sleeper/dagRuns/{run}/taskInstances/work"

    def drop_frame(lines: Iterable[str]) -> list[str]:
        """Leave out the marks of groups, and what only a reader of the log says, such as where it was found."""
        return [line for line in lines if not line.startswith(("::", "the index", "Found", "http"))]

    def read() -> list[str]:
        content = two.call("GET", f"{path}/logs/1?full_content=true")["content"]
        return drop_frame(str(line.get("event")) for line in content)

    wait_until(lambda: two.call("GET", path)["end_date"], "the end of the task")
    live = read()
    wait_until(lambda: find_lines(two, "--run", run), "lines of the run", every_s=1)
    two.bed["app2"].pull_plug()
    try:
        time.sleep(12)
        gone = read()
        assert gone == live
        assert gone
        assert sorted(drop_frame(find_lines(two, "--run", run).elements())) == sorted(gone)
    finally:
        two.bed["app2"].power_on()
        two.bed["app2"].wait_ready()


def test_down_stops_airflow_and_apply_starts_it_again(two: Four) -> None:
    refused = two.run("down")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    run = two.trigger(15)
    wait_until(lambda: two.workers()["app2"]["running"], "its task runs", every_s=1)
    two.do("down", "--yes")
    began, ended = two.ledger()
    assert began == ended, "the task ran to its end"
    left = [unit for host in ROLES for unit in units(two, host)]
    assert not any(re.search("scheduler|worker|api|triggerer|dag-processor|releaser", unit) for unit in left), left
    assert any("postgresql" in unit for unit in left)
    assert two.run("plan", "--check").returncode == 3
    two.do("apply")
    two.wait([run, two.trigger(0)])

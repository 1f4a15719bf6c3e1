"""Secrets of a busy fleet are rotated: no task is lost, no request fails, and former values are refused."""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path

import httpx
import jwt
import pytest

from airfleet.components import token_keys
from airfleet.components.host_model import PROXY, SERVER_USER
from airfleet.components.hosts import token_files
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.components.token_keys import TokenUse
from airfleet.spec.secrets import Secret
from deadline import REQUEST_S, wait_until
from four import AIRFLEET, Four, Poller

pytestmark = [pytest.mark.hosts, pytest.mark.drill]

# What logs in at PostgreSQL, and the database that it may see.
LOGINS = {"airflow": "airflow", "warehouse": "warehouse", "monitor": "airflow"}
BROKER_LOGINS = {"publisher": "publisher", "pool-default": "pool_default"}
KILLED_AFTER_S = (4, 20)
ASK = """
import sys, urllib.error, urllib.request

request = urllib.request.Request(sys.argv[1], headers={"Authorization": f"Bearer {sys.argv[2]}"})
try:
    print(urllib.request.urlopen(request).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def names(four: Four) -> list[str]:
    """Return the names of all secrets of the fleet."""
    kept = {"rotations.json", "rotations-copy.json", "identity"}
    return sorted(path.name for path in folder(four).iterdir() if path.is_file() and path.name not in kept)


def folder(four: Four) -> Path:
    return four.folder / ".airfleet" / "secrets"


def remove(four: Four, *chosen: str) -> dict[str, str]:
    """Remove the files of these secrets, which requests their rotation; return the former values."""
    former = {name: (folder(four) / name).read_text() for name in chosen}
    for name in chosen:
        (folder(four) / name).unlink()
    four.token = ""
    return former


def can_log_in(four: Four, login: str, password: str, database: str) -> bool:
    """Return whether PostgreSQL accepts the password for any login of this name, with or without a number."""
    for user in (login, f"{login}.1", f"{login}.2"):
        word = shlex.quote(f"host=127.0.0.1 port=5432 dbname={database} user={user} connect_timeout=10")
        script = (
            f"export PGPASSWORD={shlex.quote(password)}; psql {word} -Atc 'SELECT 1' >/dev/null 2>&1 && echo in || true"
        )
        if "in" in four.bed["db1"].run(f"sudo bash -c {shlex.quote(script)}").stdout.split():
            return True
    return False


def can_use_broker(four: Four, login: str, password: str) -> bool:
    for user in (login, f"{login}.1", f"{login}.2"):
        tool = f"runuser -u {rabbitmq.USER} -- env HOME={rabbitmq.HOME} {rabbitmq.RABBITMQCTL} -q -n rabbit@localhost"
        script = f"{tool} authenticate_user {user} {shlex.quote(password)} >/dev/null 2>&1 && echo in || true"
        if "in" in four.bed["app1"].run(f"sudo bash -c {shlex.quote(script)}").stdout.split():
            return True
    return False


def log_in(four: Four, password: str) -> int:
    body = {"username": "admin", "password": password}
    return httpx.post(f"{four.url}/auth/token", json=body, timeout=REQUEST_S).status_code


def forge(secret: str, *, is_shared: bool = False) -> str:
    """Return a token of the execution API that is signed with this value of `jwt_key`, or of `jwt_secret`."""
    now, key = int(time.time()), Secret(secret)
    claims = {"sub": "00000000-0000-0000-0000-000000000000", "aud": "urn:airflow.apache.org:task"}
    body = {**claims, "iat": now, "nbf": now, "exp": now + 600, "scope": "execution"}
    if is_shared:
        return jwt.encode(body, secret, algorithm="HS512", headers={"kid": token_keys.name_shared(key)})
    pem = token_keys.render_private(key, TokenUse.TASK).reveal()
    return jwt.encode(body, pem, algorithm="EdDSA", headers={"kid": token_keys.name_key(key, TokenUse.TASK)})


def takes_token(four: Four, key: str, *, is_shared: bool = False) -> bool:
    """Return whether the execution API accepts a token that is signed with this key."""
    # By the way that tasks take: the proxy of their host leads to any web host.
    url = f"http://127.0.0.1:{PROXY}/execution/variables/none"
    python = "$(ls -d /opt/airfleet/*/bin/python | head -n 1)"
    return four.bed["app2"].run(f"{python} - {url} {forge(key, is_shared=is_shared)}", text=ASK).stdout.strip() not in (
        "401",
        "403",
    )


def test_all_secrets_at_once_while_tasks_run(four: Four) -> None:
    four.write("databases: [warehouse]\n")
    four.do("apply")
    before = four.ledger()
    runs = four.begin(90, 4)
    former = remove(four, *names(four))
    assert {
        "postgres_results_writer",
        "rabbitmq_pool_default",
        "jwt_secret",
        "jwt_key",
        "fernet_key",
        "erlang_cookie",
    } <= former.keys()
    with Poller(four.url) as poller:
        four.do("apply")
    four.wait(runs)
    began, ended = four.ledger()
    assert (began - before[0], ended - before[1]) == (4, 4), "each ran once, and to its end"
    assert poller.failed == []
    for login, database in LOGINS.items():
        if login != "warehouse":
            assert not can_log_in(four, login, former[f"postgres_{login}"], database), login
        now = (folder(four) / f"postgres_{login}").read_text()
        assert can_log_in(four, login, now, database), login
    for login, name in BROKER_LOGINS.items():
        assert not can_use_broker(four, login, former[f"rabbitmq_{name}"]), login
        assert can_use_broker(four, login, (folder(four) / f"rabbitmq_{name}").read_text()), login
    assert log_in(four, former["admin_password"]) == 401
    assert log_in(four, (folder(four) / "admin_password").read_text()) == 201
    # Tasks may still carry these.
    assert can_log_in(four, "warehouse", former["postgres_warehouse"], "warehouse")
    assert takes_token(four, former["jwt_key"])
    assert takes_token(four, (folder(four) / "jwt_key").read_text())
    four.do("apply", "--revoke")
    assert not can_log_in(four, "warehouse", former["postgres_warehouse"], "warehouse")
    assert not takes_token(four, former["jwt_key"])
    assert takes_token(four, (folder(four) / "jwt_key").read_text())
    # The secret that all servers share signs no token.
    assert not takes_token(four, (folder(four) / "jwt_secret").read_text(), is_shared=True)
    assert four.run("plan", "--check").returncode == 0
    four.wait(four.begin(1, 2))
    follows = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    script = f"sudo runuser -u postgres -- psql -XAtq -h /run/postgresql postgres -c {shlex.quote(follows)}"
    # Either host is the primary, because a restart of PostgreSQL may begin with a switch-over.
    wait_until(
        lambda: sorted(four.bed[name].run(script).stdout.strip() for name in ("db1", "db2")) == ["0", "1"],
        "one replica follows the primary",
        every_s=1,
    )


@pytest.mark.parametrize("name", ["postgres_results_writer", "rabbitmq_pool_default", "jwt_key"])
def test_one_secret_while_tasks_run_and_apply_is_killed(four: Four, name: str) -> None:
    before = four.ledger()
    runs = four.begin(45, 4)
    former = remove(four, name)[name]
    for seconds in KILLED_AFTER_S:
        with subprocess.Popen([*AIRFLEET, "apply"], cwd=four.folder, stderr=subprocess.PIPE, text=True) as apply:
            try:
                apply.wait(seconds)
            except subprocess.TimeoutExpired:
                apply.kill()
                apply.communicate()
        # Whatever it came to, the fleet runs new tasks.
        runs.append(four.trigger(1))
    four.do("apply", "--revoke")
    # Tokens of people end with the key that signed them, too.
    four.token = ""
    four.wait(runs)
    began, ended = four.ledger()
    assert (began - before[0], ended - before[1]) == (len(runs), len(runs)), "each ran once, and to its end"
    match name:
        case "jwt_key":
            assert not takes_token(four, former)
        case "rabbitmq_pool_default":
            assert not can_use_broker(four, "pool-default", former)
        case _:
            assert not can_log_in(four, "airfleet_results_writer", former, "airfleet_results")
    assert four.run("plan", "--check").returncode == 0


def test_code_of_dag_files_reads_the_private_key_neither_from_its_file_nor_from_a_process_that_signs(
    four: Four,
) -> None:
    # As systemd starts the Dag processor, beside the scheduler: with the user of both, and the group of that user.
    run = f"systemd-run --quiet --pipe --wait --property=User={SERVER_USER}"
    for name in ("api-server", "execution-api", "scheduler"):
        use = token_keys.find_signed(name)
        assert use
        key = shlex.quote(str(token_files.FOLDER / use.private))
        pid = f"$(systemctl show -P MainPID airfleet-{name})"
        script = f"""
head -c 1 {key} | wc -c
head -c 1 /proc/{pid}/maps | wc -c
systemctl show -P Environment airfleet-{name} | grep -o {token_keys.PRIVATE_VARIABLE}
{run} id -un
{run} head -c 1 {key} 2>/dev/null | wc -c
{run} head -c 1 /proc/{pid}/maps 2>/dev/null | wc -c
"""
        said = four.bed["app1"].run(f"sudo bash -c {shlex.quote(script)}").stdout.split()
        assert said == ["1", "1", token_keys.PRIVATE_VARIABLE, SERVER_USER, "0", "0"], name


def test_what_code_of_dag_files_leaves_on_a_scheduler_host_is_not_imported_by_what_signs(four: Four) -> None:
    # Airflow imports these from its home. That of the Dag processor belongs to the user whom it runs as.
    planted = f"/var/lib/airfleet/{token_files.FOLDER.name}/config/airflow_local_settings.py"
    folder_of = f"/var/lib/airfleet/{token_files.FOLDER.name}/config"
    script = f"""
runuser -u {SERVER_USER} -- sh -c "mkdir -p {folder_of} && echo 'print(\\"planted\\", flush=True)' > {planted}"
since=$(date +%s)
systemctl restart airfleet-dag-processor airfleet-scheduler
for unit in airfleet-dag-processor airfleet-scheduler; do
    for _ in $(seq 60); do
        journalctl -u $unit --since @$since -o cat | grep -q airflow && break
        sleep 1
    done
done
sleep 5
for unit in airfleet-dag-processor airfleet-scheduler; do
    echo $unit $(journalctl -u $unit --since @$since -o cat | grep -cx planted)
done
rm -r {folder_of}
systemctl restart airfleet-dag-processor
"""
    said = four.bed["app1"].run(f"sudo bash -c {shlex.quote(script)}").stdout
    found = dict(line.split() for line in said.splitlines())
    assert int(found["airfleet-dag-processor"]) > 0, "Airflow imports it there, so the test shows something"
    assert found["airfleet-scheduler"] == "0"

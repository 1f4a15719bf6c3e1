"""Users of a directory, tokens, lists and the audit log of a small fleet: what is written there, and what must hold."""

from __future__ import annotations

import json
import shlex

import httpx

from deadline import REQUEST_S, wait_until
from four import Four
from slapd_node import GROUPS, PEOPLE, SERVICE, SlapdNode

# What only some Dags of the fleet may use, and who may do what.
ACCESS = """
connections:
  sales_db: {{type: http, host: sales.example.com}}
access:
  users:
    kim: {{email: kim@example.com, roles: [team-a]}}
  roles:
    team-a: {{dags: {{read: ["sales_*"]}}}}
  groups:
    analysts: {{roles: [team-a], directory: [analysts]}}
  login:
    ldap:
      urls: ["{url}"]
      bind: {{dn: "{service}", password: {{env: LDAP_PASSWORD}}}}
      users: {{base: "{people}", name: uid}}
      groups: {{base: "{groups}"}}
      authority: ssl/directory.pem
  tasks:
    connections:
      sales_db: {{dags: ["file:dags/sales/*"]}}
"""
# It prints the connection, or what the refusal says.
READER = """
from airflow.sdk import BaseHook, dag, task

@dag(schedule=None, is_paused_upon_creation=False)
def {name}():
    @task
    def read():
        return BaseHook.get_connection("sales_db").host
    read()

{name}()
"""
# Looks for tokens in the memory of each process that this user may read.
STEAL = r"""
import os, re

TOKEN = re.compile(rb"eyJ[\w-]{20,}\.[\w-]{40,}\.[\w-]{40,}")
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                place = re.match("([0-9a-f]+)-([0-9a-f]+) rw", line)
                if place and int(pid) != os.getpid():
                    begin, end = (int(one, 16) for one in place.groups())
                    try:
                        memory.seek(begin)
                        if TOKEN.search(memory.read(end - begin)):
                            print(pid, open(f"/proc/{pid}/cmdline").read())
                            break
                    except (OSError, OverflowError, ValueError):
                        continue
    except OSError:
        continue
print("looked")
"""
TAMPER = (
    "SET session_replication_role = replica;"
    " UPDATE airfleet.audit SET entry = replace(entry, '{before}', '{after}') WHERE number = {number}"
)


def write(two: Four, node: SlapdNode) -> None:
    """Write a fleet.yaml with users, roles, lists and this directory, and a Dag for each of two teams."""
    node.add_user("una", "of una")
    node.add_group("analysts", "una")
    (two.folder / "ssl").mkdir()
    (two.folder / "ssl" / "directory.pem").write_text(node.authority)
    two.write(ACCESS.format(url=node.ldaps, service=SERVICE, people=PEOPLE, groups=GROUPS))
    for folder, name in (("sales", "sales_reader"), ("other", "other_reader")):
        (two.folder / "dags" / folder).mkdir()
        (two.folder / "dags" / folder / f"{name}.py").write_text(READER.format(name=name))


def list_dags(two: Four, token: str) -> tuple[int, list[str]]:
    """Return what the REST API answers somebody with this token, and the Dags that it lists."""
    answer = httpx.get(f"{two.url}/api/v2/dags", headers={"Authorization": f"Bearer {token}"}, timeout=REQUEST_S)
    return answer.status_code, [one["dag_id"] for one in answer.json().get("dags", [])]


def log_in(two: Four, name: str, password: str) -> tuple[int, str]:
    body = {"username": name, "password": password}
    answer = httpx.post(f"{two.url}/auth/token", json=body, timeout=REQUEST_S)
    return answer.status_code, answer.json().get("access_token", "")


def ask_fab(two: Four, method: str, path: str, **body: object) -> None:
    """Change users in the way in which the UI does it."""
    two.call("GET", "/version")
    headers = {"Authorization": f"Bearer {two.token}"}
    httpx.request(
        method, f"{two.url}/auth/fab/v1{path}", headers=headers, json=body, timeout=REQUEST_S
    ).raise_for_status()


def run_sql(two: Four, statement: str) -> None:
    words = shlex.quote(statement)
    two.bed["app1"].run(f"sudo runuser -u postgres -- psql -XAtq -h /run/postgresql airflow -c {words}")


def find_refusals(two: Four, text: str) -> list[int]:
    """Return the numbers of the rows about tries with this text that were refused."""
    said = two.do("audit", "list", "--json", "-n", "1000", "--outcome", "refused", "--text", text)
    return [int(one["number"]) for one in json.loads(said)]


def check_logins(two: Four) -> None:
    assert two.run("access", "test", "una").returncode == 0
    assert "una gets the roles team-a" in two.do("access", "test", "una")
    status, una = log_in(two, "una", "of una")
    assert (status, list_dags(two, una)) == (201, (200, ["sales_reader"]))
    assert log_in(two, "una", "of kim")[0] == 401
    kim = (two.folder / ".airfleet" / "secrets" / "user_kim").read_text()
    assert list_dags(two, log_in(two, "kim", kim)[1]) == (200, ["sales_reader"])
    token = two.do("access", "tokens", "create", "ci", "--role", "team-a", "--expires", "30d").strip()
    wait_until(lambda: list_dags(two, token) == (200, ["sales_reader"]), "the token is known", every_s=0.5)
    two.do("access", "tokens", "revoke", "ci")
    wait_until(lambda: list_dags(two, token)[0] == 401, "the token has ended", every_s=0.5)


def run_dag(two: Four, dag: str) -> str:
    """Run a Dag, and return the state in which the run ends."""
    run = two.call("POST", f"/dags/{dag}/dagRuns", json={"logical_date": None})["dag_run_id"]

    def find_end() -> str | None:
        state = str(two.call("GET", f"/dags/{dag}/dagRuns/{run}")["state"])
        return state if state in ("success", "failed") else None

    return wait_until(find_end, f"the end of {dag}", every_s=1)


def check_lists_and_audit(two: Four) -> None:
    for name, wanted in (("sales_reader", "success"), ("other_reader", "failed")):
        assert run_dag(two, name) == wanted
    held = two.trigger(60)
    wait_until(lambda: two.workers()["app2"]["running"], "a task that has a token", every_s=1)
    stolen = two.bed["app2"].run("sudo runuser -u airfleet-worker -- python3 -", text=STEAL).stdout
    assert stolen == "looked\n", "the user of the tasks reads the tokens of others"
    (refused,) = find_refusals(two, "connections/sales_db")
    assert two.run("audit", "verify").returncode == 0
    run_sql(two, TAMPER.format(number=refused, before="sales_db", after="open_db"))
    found = two.run("audit", "verify")
    assert found.returncode == 1
    assert f"row {refused} was edited" in found.stdout
    run_sql(two, TAMPER.format(number=refused, before="open_db", after="sales_db"))
    assert two.run("audit", "verify").returncode == 0
    two.wait([held])


def check_drift(two: Four) -> None:
    more = {"email": "kim@example.com", "first_name": "k", "last_name": "k", "roles": [{"name": "Admin"}]}
    ask_fab(two, "PATCH", "/users/kim", username="kim", **more)
    shown = two.run("access", "plan", "--check")
    assert (shown.returncode, shown.stdout) == (3, "change user kim: roles team-a (were Admin)\n")
    planned = two.run("plan")
    assert "access: change user kim: roles team-a (were Admin)" in planned.stdout + planned.stderr
    two.do("access", "apply")
    assert two.run("access", "plan", "--check").returncode == 0


def check_doctor(two: Four) -> None:
    found = json.loads(two.run("doctor", "--hardening", "--json").stdout)
    # Nothing of the hosts is wrong that airfleet has made. The UI has no certificate here.
    wrong = [one for one in found if one["level"] == "error" and one["subject"] != "TLS"]
    assert wrong == [], wrong
    sbom = json.loads(two.do("sbom", "--host", "app2"))
    assert {"apache-airflow-core", "airfleet-provider"} <= {one["name"] for one in sbom["components"]}

"""`airfleet doctor --hardening`: each weakness is one finding with one fix, and a host without any has none."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from airfleet.runners.fleet import hardening
from airfleet.runners.fleet.transport import sections
from airfleet.workspace import hardening as own
from airfleet.workspace.state_folder import StateFolder
from command_line import invoke
from deadline import COMMAND_S
from places import NOBODY, parse

NAMES = ("modes", "listeners", "clear", "units", "sudo", "sshd", "passwords", "sysctl")
HOST = parse(NOBODY).hosts[0]


@pytest.mark.parametrize(
    ("section", "line", "level", "what", "fix"),
    [
        ("modes", "readable 644 /etc/airfleet/server/host.key", "error", "may read", "chmod o= '/etc/airfleet"),
        ("modes", "writable 777 /opt/airfleet/x", "error", "may change", "chmod o-w"),
        ("listeners", '0.0.0.0:5672 users:(("beam.smp",pid=1,fd=2))', "warning", "beam.smp listens on", "port 5672"),
        ("clear", "10.0.0.1:9100", "warning", "10.0.0.1:9100, which answers without encryption", "airfleet apply"),
        ("units", "airfleet-scheduler.service 6.1", "warning", "exposed by 6.1", "airfleet apply"),
        ("sudo", "bob ALL=(ALL) NOPASSWD: ALL", "warning", "bob becomes root", "visudo"),
        ("sshd", "passwordauthentication yes", "warning", "SSH takes passwords", "PasswordAuthentication no"),
        ("sshd", "permitrootlogin yes", "warning", "root may log in", "PermitRootLogin"),
        ("passwords", "empty guest", "error", "guest has an empty password", "passwd --lock guest"),
        ("sysctl", "kernel.yama.ptrace_scope 0", "warning", "may read the memory", "sysctl --system"),
        ("sysctl", "fs.suid_dumpable 2", "warning", "core dump", "fs.suid_dumpable = 0"),
    ],
)
def test_a_weakness_of_a_host_is_one_finding_with_one_fix(
    section: str, line: str, level: str, what: str, fix: str
) -> None:
    said: dict[str, list[str]] = {name: [] for name in NAMES} | {section: [line]}
    (found,) = [one for one in hardening.judge_host(HOST, said) if one.level != "ok"]
    assert (found.level, found.subject) == (level, f"{HOST.name}: {section}")
    assert what in found.what
    assert fix in found.hint


def test_a_host_that_is_as_it_should_be_has_no_finding() -> None:
    said = {
        "modes": [],
        "listeners": ['10.0.0.1:5672 users:(("beam.smp",pid=1,fd=2))', '0.0.0.0:22 users:(("sshd",pid=1,fd=2))'],
        "clear": [],
        "units": ["airfleet-scheduler.service 1.9"],
        "sudo": [f"{HOST.ssh.user or 'root'} ALL=(ALL) NOPASSWD: ALL"] if HOST.ssh.user else [],
        "sshd": ["permitrootlogin no", "passwordauthentication no"],
        "passwords": [],
        "sysctl": ["fs.protected_symlinks 1", "kernel.yama.ptrace_scope 2"],
    }
    assert [one.level for one in hardening.judge_host(HOST, said)] == ["ok"] * len(NAMES)


def test_what_a_host_does_not_answer_is_no_good_news() -> None:
    assert {one.level for one in hardening.judge_host(HOST, {})} == {"warning"}


def test_a_fleet_whose_ui_has_no_certificate_is_told(tmp_path: Path) -> None:
    assert hardening._judge_tls(parse(NOBODY)).level == "error"


def make(tmp_path: Path, text: str = "name: x\n") -> StateFolder:
    (tmp_path / "fleet.yaml").write_text(text)
    (tmp_path / "dags").mkdir()
    folder = StateFolder(tmp_path / ".airfleet")
    folder.create()
    return folder


def test_secrets_of_this_machine_that_others_may_read_or_that_are_old_are_told(tmp_path: Path) -> None:
    folder = make(tmp_path)
    secret = folder.secrets / "jwt_secret"
    secret.write_text("x")
    secret.chmod(0o640)
    now = secret.stat().st_mtime
    fleet = parse("name: x\n")
    found = [one for one in own.examine(fleet, tmp_path, folder, now=now) if one.level == "error"]
    assert [(one.subject, one.hint) for one in found] == [("secrets", f"chmod 600 '{secret}'")]
    secret.chmod(0o600)
    later = [
        one.what for one in own.examine(fleet, tmp_path, folder, now=now + 400 * 86400) if one.subject == "secrets"
    ]
    assert later == ["1 secret older than 365 days, the oldest of 400: jwt_secret"]


@pytest.mark.parametrize("name", ["rotations.json", "rotations-copy.json", "identity", "metadata_dsn"])
def test_nobody_is_told_to_remove_what_no_new_value_takes_the_place_of(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path)
    kept = folder.secrets / name
    kept.write_text("x")
    kept.chmod(0o600)
    found = own.examine(parse("name: x\n"), tmp_path, folder, now=kept.stat().st_mtime + 400 * 86400)
    assert [one.level for one in found if one.subject == "secrets"] == ["ok"]


@pytest.mark.parametrize(
    ("text", "subject", "what"),
    [
        ("airflow: {fab: {auth_role_public: Viewer}}", "settings", "everybody without a login"),
        ("airflow: {api: {expose_config: 'True'}}", "settings", "whole configuration"),
        ("", "access", "share the user `admin`"),
        (
            "access: {users: {a: {email: a@x, roles: [Admin]}, b: {email: b@x, roles: [Admin]},"
            " c: {email: c@x, groups: [all]}, d: {email: d@x, roles: [Admin]}}, groups: {all: {roles: [Admin]}}}",
            "access",
            "4 users have the role Admin: a, b, c, d",
        ),
        (
            "access: {login: {oidc: {issuer: 'https://x', client: a, secret: {env: S}}},"
            " groups: {all: {roles: [Admin], directory: [staff]}}}",
            "access",
            "the group staff of the directory gives Admin",
        ),
    ],
)
def test_what_fleet_yaml_opens_is_told(tmp_path: Path, text: str, subject: str, what: str) -> None:
    folder = make(tmp_path)
    found = [one for one in own.examine(parse(f"name: x\n{text}\n"), tmp_path, folder, now=0) if one.level != "ok"]
    assert what in "\n".join(one.what for one in found if one.subject == subject)
    assert all(one.hint for one in found)


@pytest.mark.parametrize("name", ["fleet.yaml", "hosts.scaled.json"])
def test_a_file_of_the_project_that_everybody_may_change_is_told(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path)
    path = tmp_path / name
    path.write_text("{}")
    path.chmod(0o666)
    found = [one for one in own.examine(parse("name: x\n"), tmp_path, folder, now=0) if one.level == "error"]
    assert [(one.subject, one.hint) for one in found] == [("project", f"chmod o-w '{path}'")]


def test_the_command_exits_with_1_for_an_error_only(tmp_path: Path) -> None:
    make(tmp_path)
    done = invoke("doctor", str(tmp_path), "--hardening", "--json")
    assert done.exit_code == 0, done.output
    assert {one["level"] for one in json.loads(done.output)} == {"ok", "warning"}
    tmp_path.chmod(0o777)
    done = invoke("doctor", str(tmp_path), "--hardening")
    assert done.exit_code == 1
    assert f"chmod o-w '{tmp_path}'" in done.output


def test_the_script_answers_every_question_on_a_real_machine() -> None:
    script = sections.render("airfleet.runners.fleet", "look_at_hardening")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=COMMAND_S, check=False)
    said = sections.split(done.stdout)
    assert set(said) == set(NAMES), done.stderr
    if shutil.which("sysctl"):
        assert any(line.startswith("fs.protected_symlinks ") for line in said["sysctl"])

"""The checks of `airfleet doctor --hardening` of this machine and of fleet.yaml: one finding and one fix each."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from airfleet.spec import load
from airfleet.spec.fleet import Fleet
from airfleet.workspace import rotation
from airfleet.workspace.diagnosis import Diagnosis
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract import wording
from airfleet_provider.contract.access_roles import ADMIN_ROLE

OLD_DAYS = 365
# Files beside the secrets that no new value takes the place of. Without the ledger of rotations nobody knows what the
# hosts use, and it has the keys of former backups.
NO_SECRETS = (rotation.NAME, rotation.COPY, "identity", "metadata_dsn", "directory.json", "webserver_config.py")
MOST_ADMINS = 3
# Settings of Airflow that let somebody in, or show secrets, when they have another value.
SETTINGS = {
    ("fab", "auth_role_public"): ("", "everybody without a login has this role"),
    ("api", "expose_config"): ("false", "users with the right to it read the whole configuration, with its secrets"),
    ("core", "unit_test_mode"): ("false", "Airflow replaces its keys by known ones"),
    ("fab", "enable_proxy_fix"): ("false", "every client may say which address it has, also to the limits on logins"),
}


def examine(fleet: Fleet, project: Path, folder: StateFolder, *, now: float) -> Iterator[Diagnosis]:
    """Make all checks of this machine. Nothing is changed."""
    yield from _judge_project(project)
    yield from _judge_secrets(folder, now)
    yield from _judge_settings(fleet)
    yield from _judge_access(fleet)


def _judge_project(project: Path) -> Iterator[Diagnosis]:
    """Whoever may change fleet.yaml, the hosts beside it or a Dag file runs code with the rights of the platform."""
    wrong = False
    for path in (project, *(project / name for name in (load.FILE, load.SCALED_FILE, "dags"))):
        if path.exists() and path.stat().st_mode & stat.S_IWOTH:
            wrong = True
            yield Diagnosis("error", "project", f"every user may change {path}", f"chmod o-w '{path}'")
    if not wrong:
        yield Diagnosis("ok", "project", "only its owner and group may change it")


def _judge_secrets(folder: StateFolder, now: float) -> Iterator[Diagnosis]:
    files = [one for one in sorted(folder.secrets.rglob("*")) if one.is_file()] if folder.secrets.is_dir() else []
    open_ = [one for one in files if one.stat().st_mode & 0o077]
    for one in open_:
        yield Diagnosis("error", "secrets", f"other users may read {one}", f"chmod 600 '{one}'")
    own = [one for one in files if one.parent == folder.secrets and one.name not in NO_SECRETS]
    old = [one for one in own if now - one.stat().st_mtime > OLD_DAYS * 86400]
    if old:
        days = int((now - min(one.stat().st_mtime for one in old)) / 86400)
        names = ", ".join(one.name for one in old[:5]) + (" …" if len(old) > 5 else "")
        what = f"{wording.count(len(old), 'secret')} older than {OLD_DAYS} days, the oldest of {days}: {names}"
        hint = "airfleet secrets rotate NAME, then airfleet apply; on one machine, airfleet down, then airfleet up"
        yield Diagnosis("warning", "secrets", what, hint)
    if not open_ and not old:
        yield Diagnosis("ok", "secrets", f"{wording.count(len(files), 'file')}, which only their owner may read")


def _judge_settings(fleet: Fleet) -> Iterator[Diagnosis]:
    wrong = False
    for (section, key), (safe, why) in SETTINGS.items():
        value = fleet.airflow.get(section, {}).get(key)
        if value is not None and str(value).lower() != safe:
            wrong = True
            hint = f"remove airflow.{section}.{key} from fleet.yaml"
            yield Diagnosis("error", "settings", f"[{section}] {key} is {value}: {why}", hint)
    if not wrong:
        yield Diagnosis("ok", "settings", "no setting of fleet.yaml opens Airflow")


def _judge_access(fleet: Fleet) -> Iterator[Diagnosis]:
    access = fleet.access
    if access is None:
        hint = "name users and their roles under `access` in fleet.yaml"
        yield Diagnosis("warning", "access", "all who log in share the user `admin`, who may do all", hint)
        return
    admins = [
        name
        for name, one in access.users.items()
        if ADMIN_ROLE in {*one.roles, *(role for group in one.groups for role in access.groups[group])}
    ]
    if len(admins) > MOST_ADMINS:
        what = f"{len(admins)} users have the role Admin: {', '.join(sorted(admins))}"
        yield Diagnosis(
            "warning", "access", what, "give Op, or a role of your own, to those who need no users and roles"
        )
    given = sorted(name for name, roles in access.directory_groups.items() if ADMIN_ROLE in roles)
    for name in given:
        what = f"the group {name} of the directory gives Admin, so whoever keeps that group is an administrator here"
        yield Diagnosis("warning", "access", what, "give Admin to users of fleet.yaml alone")
    if len(admins) <= MOST_ADMINS and not given:
        yield Diagnosis(
            "ok", "access", f"{wording.count(len(admins), 'user')} of fleet.yaml may do all, beside `admin`"
        )

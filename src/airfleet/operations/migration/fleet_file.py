"""The fleet.yaml of a platform that takes over from Airflow 2. No secret is in it: each is a reference."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from airfleet.errors import SpecError
from airfleet.operations.migration import settings
from airfleet.operations.migration.dags import DagAssessment, Sla
from airfleet.operations.migration.metadata import FormerConnection, Metadata
from airfleet.operations.migration.settings import Mail, Settings
from airfleet.spec import load

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_KEY = re.compile(r"[A-Za-z0-9_.:/-]{1,250}")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
# A promise of one day at most can be written as a time of day.
_DAY_MINUTES = 1440
DEFAULT_POOL = "default_pool"
HEAD = """\
# Written by `airfleet migrate assess`. Read it, and remove what you do not need.
# Every secret is a reference: put its value where the reference points, before `airfleet plan`.
"""


@dataclass(frozen=True, slots=True)
class WrittenFleetFile:
    """The text of a fleet.yaml, the secrets that it refers to, what it leaves out, and what airfleet says about it."""

    text: str
    secrets: tuple[str, ...]
    left_out: tuple[str, ...]
    problems: tuple[str, ...]


def build(dags: Sequence[DagAssessment], old: Settings, metadata: Metadata) -> WrittenFleetFile:
    """Return the fleet.yaml for these Dags, options and objects of the metadata database."""
    left_out: list[str] = []
    parts: dict[str, Any] = {
        "airflow": settings.keep(old.options),
        "connections": {
            one.name: _convert_connection(one)
            for one in metadata.connections
            if _has_name(one.name, f"connection {one.name}", left_out)
        },
        "variables": {
            key: {"file": f"secrets/variables/{key.replace('/', '__')}"}
            for key in metadata.variables
            if _fits(_KEY, key, f"variable {key}", left_out)
        },
        "slot_pools": {
            one.name: _drop_defaults(
                {"slots": one.slots, "description": one.description, "include_deferred": one.include_deferred}
            )
            for one in metadata.slot_pools
            if one.name != DEFAULT_POOL and _has_name(one.name, f"slot pool {one.name}", left_out)
        },
        "slas": dict(_list_slas(dags, left_out)),
        "notifications": _notify(dags, old.mail, left_out),
    }
    # The text of a value may be a literal of YAML; a wide line keeps each on its own.
    text = HEAD + yaml.safe_dump({key: value for key, value in parts.items() if value}, sort_keys=False, width=1000)
    return WrittenFleetFile(text, tuple(_list_secrets(parts)), tuple(left_out), _check(text))


def _convert_connection(one: FormerConnection) -> dict[str, Any]:
    if one.has_extra or not one.type:
        # Extras are encrypted and often hold secrets. A URI has all of them.
        return {"uri": {"env": f"{_upper(one.name)}_URI"}}
    written: dict[str, Any] = {"type": one.type}
    written |= {key: value for key in ("host", "login") if (value := getattr(one, key))}
    if one.has_password:
        written["password"] = {"env": f"{_upper(one.name)}_PASSWORD"}
    if one.schema:
        written["schema"] = one.schema
    if one.port:
        written["port"] = one.port
    return written


def _list_slas(dags: Sequence[DagAssessment], left_out: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    taken: set[str] = set()
    for dag in dags:
        if dag.slas and ":" in dag.dag_id:
            left_out.append(f"the SLAs of {dag.dag_id}: its id is computed")
            continue
        # Airflow 2 counted an SLA in default_args for every task: the last task decides.
        for sla in dag.slas:
            name = load.slug(f"{dag.dag_id}-{sla.task}" if sla.task else dag.dag_id)
            if name in taken:
                if not sla.task:
                    continue
                name = load.slug(f"{name[:34]}-{len(taken)}")
            taken.add(name)
            yield name, _promise(dag, sla)


def _promise(dag: DagAssessment, sla: Sla) -> dict[str, Any]:
    selected: dict[str, Any] = {"dag": re.escape(dag.dag_id).replace("\\-", "-")}
    if sla.task:
        selected["task"] = re.escape(sla.task).replace("\\-", "-")
    if dag.daily_at is not None:
        start, days, zone = dag.daily_at
        end = start + sla.seconds / 60
        if end < _DAY_MINUTES and sla.seconds % 60 == 0:
            promise = {"finished_by": f"{int(end) // 60:02d}:{int(end) % 60:02d}", "zone": zone}
            if days != "*":
                promise["days"] = _list_days(days)  # type: ignore[assignment]
            return selected | promise
    return selected | {"no_longer_than": _duration(sla.seconds)}


def _list_days(written: str) -> list[str]:
    first, _, last = written.partition("-")
    return list(dict.fromkeys(_DAYS[int(first) : int(last or first) + 1]))


def _duration(seconds: int) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _notify(dags: Sequence[DagAssessment], mail: Mail | None, left_out: list[str]) -> dict[str, Any]:
    told = [dag for dag in dags if dag.notifies and ":" not in dag.dag_id]
    left_out += [f"failures of {dag.dag_id}: its id is computed" for dag in dags if dag.notifies and dag not in told]
    if not told:
        return {}
    written: dict[str, Any] = {"failures": [{"dag": re.escape(dag.dag_id).replace("\\-", "-")} for dag in told]}
    groups: dict[tuple[str, ...], list[str]] = {}
    for dag in told:
        if dag.mails:
            groups.setdefault(dag.mails, []).append(re.escape(dag.dag_id).replace("\\-", "-"))
    if groups and mail is None:
        left_out.append("the receivers of mail: airflow.cfg names no mail server")
    elif mail is not None and groups:
        names = {mails: "mail" if number == 1 else f"mail-{number}" for number, mails in enumerate(groups, 1)}
        written["receivers"] = {name: _convert_mail(mail, mails) for mails, name in names.items()}
        written["escalation"] = [
            {
                "match": {"name": "DagRunFailed", "labels": {"dag_id": "|".join(ids)}},
                "steps": [{"notify": [names[mails]]}],
            }
            for mails, ids in groups.items()
        ]
    return written


def _convert_mail(mail: Mail, to: tuple[str, ...]) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "email", "to": list(to), "from": mail.sender, "host": mail.host}
    if mail.port is not None:
        written["port"] = mail.port
    if mail.encryption != "starttls":
        written["encryption"] = mail.encryption
    return written


def _list_secrets(parts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what to provide: `env NAME` or `file PATH`."""
    for section in ("connections", "variables"):
        for name, written in parts[section].items():
            for value in (written, *written.values()):
                if isinstance(value, dict) and len(value) == 1:
                    kind, where = next(iter(value.items()))
                    if kind in ("env", "file"):
                        yield f"{kind} {where}: {section.removesuffix('s')} {name}"


def _check(text: str) -> tuple[str, ...]:
    try:
        load.parse(text, file="fleet.yaml", default_name="fleet", cpus=4)
    except SpecError as error:
        return tuple(f"fleet.yaml:{one.line}: {one.path}: {one.what}" for one in error.problems)
    return ()


def _has_name(name: str, what: str, left_out: list[str]) -> bool:
    return _fits(_NAME, name, what, left_out)


def _fits(pattern: re.Pattern[str], name: str, what: str, left_out: list[str]) -> bool:
    if pattern.fullmatch(name):
        return True
    left_out.append(f"{what}: fleet.yaml does not allow this name; create it with `airfleet airflow`")
    return False


def _drop_defaults(written: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in written.items() if value or key == "slots"}


def _upper(name: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", name.upper())

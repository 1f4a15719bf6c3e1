"""What becomes of the options in an airflow.cfg of Airflow 2."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from airfleet.errors import UsageError
from airfleet.spec.fleet import OWNED_INSTEAD
from airfleet.spec.sections.section import is_secret_key

CHANGES = Path(__file__).with_name("config_changes.json")
DEFAULTS = Path(__file__).with_name("config_defaults.json")
# The defaults of Airflow 2 that decide when a run is made and what its dates are. The new fleet.yaml keeps them, so
# that the first run in Airflow 3.3 follows the last one in Airflow 2.
SCHEDULING: Mapping[str, str] = {
    "catchup_by_default": "True",
    "create_cron_data_intervals": "True",
    "create_delta_data_intervals": "True",
}
_ENDED_EXECUTORS = (
    "SequentialExecutor",
    "DebugExecutor",
    "DaskExecutor",
    "CeleryKubernetesExecutor",
    "LocalKubernetesExecutor",
)
# Options that say what Dags mean. All others describe the old machines, or were tuned for them.
_OF_DAGS = re.compile(
    r"core\.(default_timezone|max_\w+|dags_are_paused_at_creation|default_\w+|max_task_retry_delay|xcom_backend"
    r"|allowed_deserialization_classes\w*|dag_run_conf_overrides_params|dag_ignore_file_syntax|hide_sensitive_var_conn_fields"
    r"|sensitive_var_conn_names|dag_discovery_safe_mode|strict_asset_uri_validation)"
    r"|operators\..*|sensors\..*|email\.default_\w+"
    r"|scheduler\.(catchup_by_default|create_\w+_data_intervals|ignore_first_depends_on_past_by_default|use_job_schedule"
    r"|allowed_run_id_pattern)"
)


class Fate(StrEnum):
    """What becomes of an option."""

    KEPT = "kept"  # it is written into `airflow:` of fleet.yaml, perhaps under its new name
    REMOVED = "removed"  # Airflow 3 has no such option
    OWNED = "owned"  # airfleet decides it
    LEFT = "left out"  # it describes the old machine
    DEFAULT = "default"  # Airflow 3.3 does the same without it


@dataclass(frozen=True, slots=True)
class Option:
    """One option that was set. Only `KEPT` options show their value; a value may be a secret."""

    section: str
    name: str
    fate: Fate
    note: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Mail:
    """The mail server of Airflow 2, without its password."""

    host: str
    sender: str
    port: int | None
    encryption: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All options that were set, the mail server if there is one, and the executor."""

    options: tuple[Option, ...] = ()
    mail: Mail | None = None
    executor: str = ""


def read(path: Path) -> Settings:
    """Return what becomes of each option that an airflow.cfg sets.

    Raises:
        UsageError: The file cannot be read.
    """
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        what = str(error).splitlines()[0] if isinstance(error, OSError | configparser.Error) else "not UTF-8 text"
        raise UsageError(f"cannot be read: {what}", where=str(path), hint="name the airflow.cfg of Airflow 2") from None
    changes: dict[str, tuple[str, str]] = {key: (to, why) for key, (to, why) in json.loads(CHANGES.read_text()).items()}
    defaults: dict[str, str | None] = json.loads(DEFAULTS.read_text())
    options = tuple(
        _judge(section, name, value.strip(), changes, defaults)
        for section in parser.sections()
        for name, value in parser.items(section)
        if value.strip()
    )
    return Settings(options, _find_mail(parser), parser.get("core", "executor", fallback=""))


def keep(options: tuple[Option, ...]) -> dict[str, dict[str, str]]:
    """Return `airflow:` of the new fleet.yaml: the options that are kept, and the schedule semantics of Airflow 2."""
    kept: dict[str, dict[str, str]] = {"scheduler": dict(SCHEDULING)}
    for one in options:
        if one.fate is Fate.KEPT:
            kept.setdefault(one.section, {})[one.name] = one.value
    return kept


def _judge(
    section: str,
    name: str,
    value: str,
    changes: Mapping[str, tuple[str, str]],
    defaults: Mapping[str, str | None],
) -> Option:
    old = f"{section}.{name}"
    to, why = changes.get(old, (old, ""))
    if old in changes and not to:
        return Option(section, name, Fate.REMOVED, why or "Airflow 3 has no such option")
    new_section, new_name = to.split(".", 1)
    note = f"it was {old}" if to != old else ""
    if (hint := OWNED_INSTEAD.get((new_section, new_name))) is not None:
        if old == "core.executor" and value in _ENDED_EXECUTORS:
            hint = f"Airflow 3 has no {value}; {hint}"
        return Option(section, name, Fate.OWNED, hint)
    # The options of providers are not in the list, and their sections are not either.
    if to not in defaults and any(known.startswith(f"{new_section}.") for known in defaults):
        return Option(section, name, Fate.REMOVED, "Airflow 3 has no such option")
    if str(defaults.get(to)) == value and to not in (f"scheduler.{one}" for one in SCHEDULING):
        return Option(new_section, new_name, Fate.DEFAULT, note)
    # A class of Airflow's own may have another module now.
    if is_secret_key(name) or not _OF_DAGS.fullmatch(to) or value.startswith("airflow."):
        return Option(section, name, Fate.LEFT, "set it again if the new installation needs it")
    return Option(new_section, new_name, Fate.KEPT, note, value)


def _find_mail(parser: configparser.ConfigParser) -> Mail | None:
    host = parser.get("smtp", "smtp_host", fallback="").strip()
    sender = parser.get("smtp", "smtp_mail_from", fallback="").strip()
    if not host or host == "localhost" or not sender:
        return None
    port = parser.get("smtp", "smtp_port", fallback="").strip()
    if parser.get("smtp", "smtp_ssl", fallback="").strip().lower() == "true":
        encryption = "tls"
    else:
        encryption = (
            "none" if parser.get("smtp", "smtp_starttls", fallback="").strip().lower() == "false" else "starttls"
        )
    return Mail(host, sender, int(port) if port.isdigit() else None, encryption)

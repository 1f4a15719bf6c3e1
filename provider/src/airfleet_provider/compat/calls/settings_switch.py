"""The settings of a process that was forked from one that has none of the platform's secrets."""

from __future__ import annotations

import configparser
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from airfleet_provider.compat.calls import config

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# Puts what a function makes of each text that Airflow's modules keep in their names in its place.
Change = Callable[[Callable[[str], str], Collection[str]], None]
# The modules that keep such texts: a test compares all modules with those of a process that never switched.
MODULES = ("airflow.configuration", "airflow.sdk.definitions.asset", "airflow.settings")
# Where the settings of a platform that no task reads lie. `switch` handles those that Airflow keeps elsewhere.
SECTIONS = frozenset({"database", "celery", "celery_broker_transport_options", "api_auth"})
KEYS = frozenset({("core", "fernet_key"), ("api", "secret_key")})


def find_obstacle(open_settings: Path, settings: Path, environ: Mapping[str, str]) -> str | None:
    """Return why a process cannot switch from the first of two files to the other and the environment; None if it can.

    Modules that Airflow has imported may keep what the first file lacks, such as a client of a secrets back end.
    """
    known, all_ = (configparser.RawConfigParser(strict=False) for _ in range(2))
    known.read(open_settings)
    all_.read(settings)
    config.add_variables(all_, environ)
    for section in all_.sections():
        for key, value in all_.items(section):
            if section in SECTIONS or (section, key) in KEYS:
                continue
            if not known.has_option(section, key) or known.get(section, key) != value:
                return f"[{section}] {key} is a secret, or has another value"
    return None


def switch(change_constants: Change) -> None:
    """Read airflow.cfg, in a process that has imported Airflow with another file."""
    from airflow import configuration, settings
    from airflow.configuration import conf
    from airflow.sdk.configuration import conf as task_conf

    settings.dispose_orm(do_log=False)
    file = configuration.get_airflow_config(configuration.AIRFLOW_HOME)
    former = (configuration.AIRFLOW_CONFIG, settings.SQL_ALCHEMY_CONN, settings.SQL_ALCHEMY_CONN_ASYNC)
    for one in (conf, task_conf):
        for section in one.sections():
            one.remove_section(section)
        one.read(file)
    conf.validate()
    settings.configure_vars()
    now = (file, settings.SQL_ALCHEMY_CONN, settings.SQL_ALCHEMY_CONN_ASYNC)
    changed = dict(zip(former, now, strict=True))
    change_constants(lambda text: changed.get(text, text), MODULES)
    settings.configure_orm()
    conf.mask_secrets()

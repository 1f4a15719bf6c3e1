"""When a process may switch to settings that it has not read when it imported Airflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet_provider.compat.calls import settings_switch

OPEN = "[core]\nparallelism = 4\n[celery]\n"
FULL = (
    "[core]\nparallelism = 4\nfernet_key = k\n[database]\nsql_alchemy_conn = x://y:z%%a@b\n[celery]\nbroker_url = q\n"
)


@pytest.mark.parametrize(
    ("more", "environ", "obstacle"),
    [
        ("", {}, None),
        ("", {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "x", "AIRFLOW__CORE__PARALLELISM": "4", "OTHER": "y"}, None),
        ("", {"AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH": "task_key.pem"}, None),
        ("[sentry]\nsentry_dsn = s\n", {}, "[sentry] sentry_dsn is a secret, or has another value"),
        ("", {"AIRFLOW__SENTRY__SENTRY_DSN": "s"}, "[sentry] sentry_dsn is a secret, or has another value"),
        ("[secrets]\nbackend = b\n", {}, "[secrets] backend is a secret, or has another value"),
        ("", {"AIRFLOW__CORE__PARALLELISM": "5"}, "[core] parallelism is a secret, or has another value"),
    ],
)
def test_only_what_airflow_keeps_nowhere_else_may_be_missing(
    tmp_path: Path, more: str, environ: dict[str, str], obstacle: str | None
) -> None:
    (tmp_path / "open").write_text(OPEN)
    (tmp_path / "full").write_text(FULL + more)
    assert settings_switch.find_obstacle(tmp_path / "open", tmp_path / "full", environ) == obstacle

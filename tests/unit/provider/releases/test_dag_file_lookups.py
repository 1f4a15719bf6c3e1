"""What Dag files are told while they are parsed; tests/local/test_parser_process.py has the process itself."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.configuration import conf
from airflow.sdk.execution_time import supervisor

from airfleet_provider.compat.calls import parsing
from airfleet_provider.compat.patches import secret_lookups


@pytest.mark.parametrize(
    "question",
    [
        {"kind": "variable", "name": "a\0"},
        {"kind": "connection", "name": "\ud800"},
        {"kind": "variable", "name": 5},
        {"kind": "variable_keys", "prefix": "", "limit": -1, "offset": 0},
        {"kind": "variable_keys", "prefix": "", "limit": 1, "offset": 10**30},
        {"kind": "users"},
        {},
        [],
        "variable",
    ],
)
def test_an_odd_question_of_a_dag_file_ends_nothing(question: Any) -> None:  # noqa: ANN401
    assert parsing.look_up(question) == {}


def test_a_store_of_secrets_that_fails_is_no_store_without_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    class Vault:
        def get_variable(self, key: str) -> str | None:
            raise ConnectionError("the vault is sealed")

    class Metastore:
        def get_variable(self, key: str) -> str | None:
            return {"colour": "green"}.get(key)

    def load() -> list[object]:
        return secret_lookups.follow([Vault(), Metastore()])

    monkeypatch.setattr(supervisor, "ensure_secrets_backend_loaded", load)
    assert parsing.look_up({"kind": "variable", "name": "colour"}) == {"value": "green"}
    with pytest.raises(Exception, match="the vault is sealed"):
        parsing.look_up({"kind": "variable", "name": "size"})


def test_no_secret_is_among_the_settings_that_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://airflow:pass-of-base@db/airflow")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD", "cat /etc/dsn-of-base")
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", "amqp://ann:pass-of-broker@mq")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY_SECRET", "path-of-fernet")
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "the-jwt-secret")
    monkeypatch.setenv("AIRFLOW__OWN__URL", "https://the-jwt-secret@example.com")
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND_KWARGS", '{"token": "of-the-vault"}')
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_QUEUE", "50% more")
    text = parsing.render_open_settings()
    for secret in ("pass-of-base", "dsn-of-base", "pass-of-broker", "path-of-fernet", "the-jwt-secret", "of-the-vault"):
        assert secret not in text
    assert "default_queue = 50%% more" in text
    own = conf.get("core", "fernet_key")
    assert not own or own not in text

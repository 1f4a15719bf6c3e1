"""The process in which Dag files are executed: what it knows, and what one file can do to the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.configuration import conf
from airflow.sdk.execution_time import supervisor

from airfleet_provider.compat.calls import parsing
from airfleet_provider.compat.patches import secret_lookups
from airfleet_provider.releases.parser_process import Parser
from parsers import parse, serve


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parser]:
    """One for all tests, as for all deployments: it takes seconds to start."""
    with serve(tmp_path_factory.mktemp("bundles")) as parser:
        yield parser


def test_lookups_are_answered_by_the_one_who_asked_for_the_parse(
    parser: Parser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def look_up(question: Mapping[str, object]) -> dict[str, object]:
        asked.append(question)
        return {"value": "green"} if question["name"] == "colour" else {}

    monkeypatch.setattr(parsing, "look_up", look_up)
    more = "from airflow.sdk import Variable; assert [Variable.get(x, default=None) for x in ('colour', 'size')] == {}"
    found = parse(parser, tmp_path, {"a": more.format(["green", None])})
    assert b'"error": null' in (found["a"].answer or b""), found
    assert asked == [{"kind": "variable", "name": "colour"}, {"kind": "variable", "name": "size"}]


def test_a_name_that_nothing_can_have_costs_the_file_that_asks_for_it_only(parser: Parser, tmp_path: Path) -> None:
    odd = "from airflow.sdk import Variable; assert Variable.get('a\\0', default='none') == 'none'"
    found = parse(parser, tmp_path, {"a": "", "b": odd, "c": ""})
    for name in ("a", "b", "c"):
        assert b'"error": null' in (found[name].answer or b""), found
    # What the file asked for is stored with its result, and the database holds no NUL character.
    assert b"u0000" not in (found["b"].answer or b"")


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

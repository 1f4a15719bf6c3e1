"""A switch-over and an apply keep each other out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airfleet.errors import AirfleetError
from airfleet.operations.database import switchover
from airfleet.runners.fleet import lease
from airfleet.runners.fleet.survey import fleet_spec
from airfleet.runners.fleet.transport import shell
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.workspace.state_folder import StateFolder
from command_line import invoke
from places import NINE

FLEET = NINE.replace("[web, monitor]", "[web, monitor, database]").replace("[web]", "[web, database]")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(FLEET)
    StateFolder(tmp_path / ".airfleet").create()
    return tmp_path


def promote(project: Path) -> BaseException | None:
    return invoke("failover", str(project), "--database").exception


def test_it_waits_for_no_apply_of_this_project_and_begins_nothing_beside_one(project: Path) -> None:
    with lease.claim(project / ".airfleet", "somebody", "noon"):
        refusal = promote(project)
    assert isinstance(refusal, AirfleetError)
    assert "somebody" in refusal.what


def test_it_holds_the_lease_of_every_database_host_that_answers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[str] = []

    @contextmanager
    def hold(host: Any, *_: object, **__: object) -> Iterator[None]:  # noqa: ANN401
        if host.host.name == "web3":
            raise HostError("it does not answer", where="web3")
        held.append(host.host.name)
        yield
        held.remove(host.host.name)

    class Switchover:
        def __init__(self, *_: object, **__: object) -> None: ...

        def run(self, **_: object) -> SimpleNamespace:
            assert held == ["web2", "data1"]
            return SimpleNamespace(before="web2", after="data1", works_s=1.0)

    monkeypatch.setattr(lease, "hold", hold)
    monkeypatch.setattr(switchover, "Switchover", Switchover)
    monkeypatch.setattr(shell.HostShell, "close", lambda _: None)
    assert promote(project) is None
    assert held == []


class ReadError(Exception):
    """Raised when the fleet's specification is read."""


@pytest.mark.parametrize(
    ("verb", "words"),
    [(("apply",), ()), (("upgrade",), ("--yes",)), (("db", "restore"), ("--yes",))],
    ids=["apply", "upgrade", "restore"],
)
def test_which_host_is_the_primary_is_read_while_nobody_can_promote_another(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    def read_spec(*_: object, **__: object) -> None:
        refusal = promote(project)
        assert isinstance(refusal, AirfleetError)
        assert "applies this fleet" in refusal.what
        raise ReadError

    monkeypatch.setattr(fleet_spec, "read_spec", read_spec)
    assert isinstance(invoke(*verb, str(project), *words).exception, ReadError)

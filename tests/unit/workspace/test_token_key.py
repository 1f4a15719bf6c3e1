"""The key pair of tokens comes to a platform of an earlier version in steps, and its running tasks go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airfleet.spec.secrets import Rotating, Secret, list_accepted
from airfleet.workspace import applied_hosts, credentials, rotation, secret_files
from airfleet.workspace.rotation import RotationLedger, RotationStep, find_carried, present_alone
from airfleet.workspace.state_folder import JWT_KEY, StateFolder
from places import NINE, parse

FLEET = parse(NINE)


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path)
    made.create()
    return made


def read(folder: StateFolder) -> Secret:
    """Return the key of tokens as hosts get it."""
    return credentials.read(folder, RotationLedger(folder.secrets), FLEET).platform.jwt_key


def forget_key(folder: StateFolder) -> None:
    """Leave a state folder as a version without the key pair has it."""
    (folder.secrets / JWT_KEY).unlink()
    for name in (rotation.NAME, rotation.COPY):
        body = json.loads((folder.secrets / name).read_text())
        del body[JWT_KEY]
        (folder.secrets / name).write_text(json.dumps(body))


def start(folder: StateFolder) -> Rotating:
    """Return the key of tokens as a platform on one machine gets it at its start."""
    ledger = RotationLedger(folder.secrets)
    shown: dict[str, Rotating] = {}

    def present(name: str, secret: Secret) -> Secret:
        shown[name] = present_alone(name, ledger.notice_platform(name, secret))
        return shown[name]

    folder.read_credentials((), present)
    ledger.write()
    return shown[JWT_KEY]


def test_a_new_fleet_begins_with_the_key_pair(folder: StateFolder) -> None:
    assert [bool(one.reveal()) for one in list_accepted(read(folder))] == [True]


def test_a_fleet_of_an_earlier_version_learns_the_key_in_the_steps_of_a_rotation(folder: StateFolder) -> None:
    read(folder)
    applied_hosts.write(folder.root, FLEET.hosts)
    forget_key(folder)
    # Whether each value that hosts accept is the key pair; the first one signs.
    seen = [[bool(one.reveal()) for one in list_accepted(read(folder))]]
    for now in (0.0, 1.0, 2.0 + find_carried(JWT_KEY)):
        assert RotationLedger(folder.secrets).advance(now)
        seen.append([bool(one.reveal()) for one in list_accepted(read(folder))])
    assert seen == [[False, True], [True, False], [True, False], [True]]
    found = {one.name: one.state for one in secret_files.list_secrets(folder, 0.0, pools=())}
    assert found[JWT_KEY] == secret_files.SETTLED


def test_a_fleet_without_a_known_key_is_told_from_a_new_one_after_a_kill(folder: StateFolder) -> None:
    read(folder)
    forget_key(folder)
    folder.keep_secret(JWT_KEY)  # and then the command was killed, before it wrote the ledger
    assert not read(folder).reveal(), "hosts still sign with the shared secret"


def test_one_machine_signs_with_the_pair_at_once_and_accepts_what_waits_in_its_broker(folder: StateFolder) -> None:
    start(folder)
    forget_key(folder)
    shown = start(folder)
    assert [bool(one.reveal()) for one in list_accepted(shown)] == [True, False]
    RotationLedger(folder.secrets).settle(0.0)
    assert len(list_accepted(start(folder))) == 2
    RotationLedger(folder.secrets).settle(1.0 + find_carried(JWT_KEY))
    assert [one.reveal() for one in list_accepted(start(folder))] == [shown.reveal()]


def test_a_key_that_leaked_is_exchanged_while_it_is_introduced(folder: StateFolder) -> None:
    read(folder)
    forget_key(folder)
    first = list_accepted(read(folder))[1]
    assert secret_files.request(folder, [JWT_KEY], now=0.0, pools=[pool.name for pool in FLEET.pools]) == [JWT_KEY]
    second = [one for one in list_accepted(read(folder)) if one.reveal() and one != first]
    assert len(second) == 1
    ledger = RotationLedger(folder.secrets)
    while ledger.advance(0.0, at_once=True):
        pass
    assert list_accepted(read(folder)) == tuple(second)
    assert dict(ledger.list_steps())[JWT_KEY] is RotationStep.SETTLED

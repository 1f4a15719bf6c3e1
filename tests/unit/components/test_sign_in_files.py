"""Where users are who are not in fleet.yaml: the secret reaches the api-servers of a platform, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airfleet.components import api_server
from airfleet.components.host_model import HostFile, Part
from airfleet.components.hosts import host_parts
from airfleet.components.model import reveal
from airfleet.spec.secrets import Secret
from places import parse, place

SECRET = "of the service account"


def describe(name: str) -> tuple[Part, ...]:
    where = place(parse(), name)
    objects = replace(where.objects, directory=Secret(f'{{"password": "{SECRET}"}}'))
    return host_parts.describe(replace(where, objects=objects), ssh_ports=(22,))


def find_files(parts: tuple[Part, ...]) -> list[HostFile]:
    return [one for part in parts for one in part.files if SECRET in reveal(one.content)]


def test_only_the_api_server_of_a_web_host_gets_the_secret() -> None:
    parts = describe("web2")
    (file,) = find_files(parts)
    assert (str(file.path), file.mode) == ("/etc/airfleet/server/directory.json", 0o640)
    services = {service.name: service for part in parts for service in part.services}
    with_file = {name for name, one in services.items() if file in one.files}
    assert with_file == {"api-server"}
    env = services["api-server"].env
    assert env["AIRFLEET_DIRECTORY"] == str(file.path)
    config = next(one for one in services["api-server"].files if str(one.path) == env[api_server.CONFIG_FILE])
    # The file of Python is the same on every platform: fleet.yaml decides data, and no code.
    assert reveal(config.content) == api_server.SIGN_IN
    for name, one in services.items():
        assert SECRET not in " ".join([*one.command, *one.env.values()]), name
        assert name == "api-server" or "AIRFLEET_DIRECTORY" not in one.env


@pytest.mark.parametrize("name", ["sched1", "cpu1", "data1"])
def test_no_other_host_gets_the_secret(name: str) -> None:
    assert find_files(describe(name)) == []

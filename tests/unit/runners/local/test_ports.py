"""Ports: free ones are found, and the owner of a taken one is named."""

from __future__ import annotations

import os
import random
import re
import socket
from pathlib import Path

import pytest

from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.local import ports


def test_a_free_port_is_free() -> None:
    ports.require_free(ports.find_free(), setting="ports.api")


def test_the_kernel_gives_a_found_port_to_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ports.RANGE, raising=False)
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not any(first <= ports.find_free() <= last for _ in range(50))


def test_several_ports_are_as_many_different_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "sample", lambda _, k: [20001, 20002, 20003][:k])
    assert sorted(ports.find_several(3)) == [20001, 20002, 20003]


def test_a_port_that_fleet_yaml_names_is_not_chosen_for_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "sample", lambda _, k: [20001, 20002, 20003][:k])
    assert ports.find_several(2, [20001]) == (20002, 20003)


def test_ports_are_chosen_from_the_range_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ports.RANGE, "20001-20050")
    assert all(20001 <= port <= 20050 for port in ports.find_several(10))


@pytest.mark.parametrize("text", ["20000", "2-1", "a-b", "20000-70000", "0-9"])
def test_a_range_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ports.RANGE, text)
    with pytest.raises(UsageError, match=re.escape(repr(text))):
        ports.find_free()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - who listens everywhere listens here too
def test_a_taken_port_names_its_owner_and_the_setting(address: str) -> None:
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(AirfleetError, match=f"port {port} is taken by .*\\(pid {os.getpid()}\\)") as caught:
            ports.require_free(port, setting="ports.database")
    assert "`ports.database`" in caught.value.hint


def test_a_port_in_time_wait_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            served, _ = listener.accept()
            served.close()  # the side that closes first is the one that waits
            assert client.recv(1) == b""
    ports.require_free(port, setting="ports.api")


def test_nobody_owns_a_free_port() -> None:
    assert ports.describe_owner(ports.find_free()) == ""

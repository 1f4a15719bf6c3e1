"""A way through a host's SSH, on clients that are made up."""

from __future__ import annotations

import contextlib
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from airfleet.runners.fleet.transport.connection import HostConnection
from airfleet.runners.fleet.transport.login import HostLogin
from airfleet.spec.topology import Host
from deadline import PATIENCE_S


class Client:
    """Answers every connection that is led to it with its name; refuses the first ones, if told so."""

    def __init__(self, name: str, refusals: int = 0) -> None:
        self.name = name
        self.refusals = refusals

    def open_channel(self, *_: object, **__: object) -> socket.socket:
        if self.refusals:
            self.refusals -= 1
            raise OSError("refused")
        ours, theirs = socket.socketpair()
        theirs.sendall(self.name.encode())
        theirs.close()
        return ours


def connect(client: Client) -> HostConnection:
    connection = HostConnection(Host("h1", "10.0.0.1", ()), Path())
    connection._login = HostLogin(client, ExitStack())  # type: ignore[arg-type]
    return connection


def ask(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as one:
        return one.recv(100).decode()


def test_a_refused_connection_ends_and_the_next_is_led_on() -> None:
    with connect(Client("db", refusals=1)).forward("127.0.0.1", 5432) as port:
        with contextlib.suppress(ConnectionResetError):
            assert ask(port) == ""
        assert ask(port) == "db"


def test_a_closed_way_takes_no_connection_and_leaves_nobody_who_waits_for_one() -> None:
    before = threading.active_count()
    with connect(Client("old")).forward("127.0.0.1", 5432) as port:
        assert ask(port) == "old"
    assert threading.active_count() <= before + 2  # those of the one connection may still be ending
    with pytest.raises(ConnectionRefusedError):
        ask(port)

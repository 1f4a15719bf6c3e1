"""A root shell on one host. It reconnects after the host was down."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from airfleet.runners.fleet.transport.connection import HostConnection, HostError, Output
from airfleet.spec.topology import Host


class Shell(Protocol):
    """A shell that runs scripts on one host as root."""

    def run(self, script: str, *, timeout_s: float = 60) -> Output:
        """Run a script and return its output.

        Raises:
            HostError: The host does not answer.
        """


class NamedShell(Shell, Protocol):
    """A shell that knows its host."""

    @property
    def host(self) -> Host: ...


class HostShell:
    """A shell that connects at its first use, and reconnects after the host was down."""

    def __init__(self, host: Host, project: Path) -> None:
        self._connection = HostConnection(host, project)
        self._is_open = False

    @property
    def host(self) -> Host:
        """Return the host."""
        return self._connection.host

    def run(self, script: str, *, timeout_s: float = 60) -> Output:
        """Run a script and return its output.

        Raises:
            HostError: The host does not answer.
        """
        try:
            if not self._is_open:
                self._connection.open()
                self._is_open = True
            return self._connection.run(script, timeout_s=timeout_s)
        except HostError:
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()
        self._is_open = False

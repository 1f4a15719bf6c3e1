"""The RabbitMQ that is installed on this machine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from airfleet.errors import AirfleetError

# Debian's wrapper on the PATH changes the user. The plain script runs as the user that starts it.
PLAIN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@dataclass(frozen=True, slots=True)
class RabbitmqPrograms:
    """The paths of the broker and of Erlang's name server, which the broker needs."""

    server: Path
    names_server: Path


def find_programs() -> RabbitmqPrograms:
    """Return the paths of the installed programs.

    Raises:
        AirfleetError: RabbitMQ is not installed.
    """
    server = str(PLAIN) if PLAIN.exists() else shutil.which("rabbitmq-server")
    names_server = shutil.which("epmd")
    if server is None or names_server is None:
        raise AirfleetError(
            "RabbitMQ is not installed, and `executor: celery` needs it",
            where="rabbitmq-server" if server is None else "epmd",
            hint="install RabbitMQ 3.10 or later (Debian: apt-get install rabbitmq-server), or leave out `executor`",
        )
    return RabbitmqPrograms(Path(server), Path(names_server))

"""The health checks of processes. Every runner makes all of them, or refuses a process whose check it cannot make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airfleet.spec.secrets import Secret

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """Healthy while a GET of the URL returns this status. Then `warm_up` is fetched once, as its first call is slow.

    `login` are the user and the password of a server that asks for them.
    With https, only a fleet's runner makes the check, the status is 200, and the server's certificate is not verified:
    the URL is that of a server on this machine.
    """

    url: str
    status: int = 200
    warm_up: str = ""
    login: tuple[str, Secret] | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatCheck:
    """Healthy while the Airflow job of this type that this process started has a heartbeat younger than `max_age_s`.

    `alone` means that no other process has a job of this type. So a running job of an earlier process is over.
    """

    job_type: str
    max_age_s: float = 30.0
    alone: bool = True


@dataclass(frozen=True, slots=True)
class CandidateCheck:
    """Healthy while the scheduler agent with this candidate name is active, or is a standby that is ready."""

    name: str
    max_age_s: float = 10.0


@dataclass(frozen=True, slots=True)
class LoginCheck:
    """Healthy while the PostgreSQL server accepts a login."""


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Healthy while this port of this machine accepts connections at `address`."""

    port: int
    address: str = LOOPBACK


@dataclass(frozen=True, slots=True)
class ConsumerCheck:
    """Healthy while the queue of this broker has a consumer, or one of the files `unless` exists: then it needs none.

    With TLS, the broker's certificate is checked against the file `authorities`, or against those of the system.
    """

    url: Secret
    queue: str
    unless: tuple[Path, ...] = ()
    authorities: Path | None = None


@dataclass(frozen=True, slots=True)
class NoteCheck:
    """Healthy while a JSON file that the process writes names it, as `"pid": 1234`. Only a fleet's runner checks it."""

    path: Path


@dataclass(frozen=True, slots=True)
class ReadyCheck:
    """Healthy once the image has imported its modules and accepts requests to fork."""


Health = HttpCheck | HeartbeatCheck | CandidateCheck | LoginCheck | TcpCheck | ConsumerCheck | ReadyCheck

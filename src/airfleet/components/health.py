"""What makes a process healthy. Every runner answers every one of these checks, or says at once that it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airfleet.spec.secrets import Secret

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """Healthy while a GET of the URL answers so; `warm_up` is asked for once then, as a first call is slow."""

    url: str
    status: int = 200
    warm_up: str = ""


@dataclass(frozen=True, slots=True)
class HeartbeatCheck:
    """Healthy while Airflow's job of this type, started by this very process, has a fresh heartbeat.

    A process that is `alone` in its type has no living predecessor, so what such jobs are said to run is over.
    """

    job_type: str
    max_age_s: float = 30.0
    alone: bool = True


@dataclass(frozen=True, slots=True)
class CandidateCheck:
    """Healthy while the scheduler agent that is this candidate works, or stands by and is ready."""

    name: str
    max_age_s: float = 10.0


@dataclass(frozen=True, slots=True)
class LoginCheck:
    """Healthy while the database accepts a login."""


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Healthy while this port of this machine takes connections; the loopback unless the process listens elsewhere."""

    port: int
    address: str = LOOPBACK


@dataclass(frozen=True, slots=True)
class ConsumerCheck:
    """Healthy while somebody takes messages from the queue of this broker, or nobody should: the file is there."""

    url: Secret
    queue: str
    unless: Path | None = None


@dataclass(frozen=True, slots=True)
class ReadyCheck:
    """Healthy once it has imported its modules and takes orders."""


Health = HttpCheck | HeartbeatCheck | CandidateCheck | LoginCheck | TcpCheck | ConsumerCheck | ReadyCheck

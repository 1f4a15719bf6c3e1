"""The health checks of a platform on this machine, and what its database knows about it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, LiteralString, assert_never
from urllib.parse import unquote, urlsplit

import amqp
import httpx
import psycopg

from airfleet.components.health import (
    CandidateCheck,
    ConsumerCheck,
    Health,
    HeartbeatCheck,
    HttpCheck,
    LoginCheck,
    ReadyCheck,
    TcpCheck,
)
from airfleet.runners.local.platform_reader import TIMEOUT_S, connect
from airfleet.runners.local.supervision import CheckResult
from airfleet.spec.secrets import Secret
from airfleet_provider.contract import wording
from airfleet_provider.contract.lease_schema import CandidateState
from airfleet_provider.contract.own_broker import BrokerAddress

# An api-server that makes its routes answers late, and late is not dead.
HTTP_TIMEOUT_S = 20.0
WARM_UP_S = 120.0


class Checker:
    """Makes health checks. Any thread may use it. The checks of the database share a connection.

    What the supervisor's own thread asks goes apart from it, so that no server that hangs keeps the supervisor.
    """

    def __init__(self, database: Secret, others: tuple[Secret, ...] = ()) -> None:
        """`others` are URLs of the database with former passwords, which it may have until they are set."""
        self._database = database
        self._others = others
        self._http = httpx.Client(timeout=HTTP_TIMEOUT_S, trust_env=False)
        self._kept: psycopg.Connection[tuple[Any, ...]] | None = None
        self._lock = threading.Lock()

    def check(self, health: Health, *, started: float) -> CheckResult:
        """Check a process that was started at this time, in seconds since 1970.

        The result says if a process or the database is down; no error is raised for that.

        Raises:
            TypeError: Only the supervisor can make this check.
        """
        try:
            match health:
                case HttpCheck(url, wanted, _, login):
                    proof = httpx.BasicAuth(login[0], login[1].reveal()) if login else None
                    status = self._http.get(url, auth=proof).status_code
                    return CheckResult(status == wanted, f"answers HTTP {status}")
                case LoginCheck():
                    return self._check_login()
                case TcpCheck(port, address):
                    with socket.create_connection((address, port), timeout=TIMEOUT_S):
                        return CheckResult(True)
                case ConsumerCheck(unless=marks) if any(mark.exists() for mark in marks):
                    return CheckResult(True, "drained")
                case ConsumerCheck(url, queue, _, authorities):
                    return _check_consumers(url, queue, authorities)
                case HeartbeatCheck(job_type, max_age_s):
                    return self._check_heartbeat(job_type, max_age_s, started)
                case CandidateCheck(name, max_age_s):
                    return self._check_candidate(name, max_age_s, started)
                case ReadyCheck():
                    raise TypeError("the supervisor alone knows whether its fork server is ready")
                case _ as never:
                    assert_never(never)
        except (httpx.ConnectError, OSError):
            return CheckResult(False, "not answering yet")
        except psycopg.OperationalError as error:
            # Only of the database itself does it say anything that it does not answer.
            return CheckResult(False, _first_line(error), conclusive=isinstance(health, LoginCheck))
        except (httpx.HTTPError, psycopg.Error, amqp.AMQPError) as error:
            return CheckResult(False, _first_line(error))

    def _check_login(self) -> CheckResult:
        for url in (self._database, *self._others):
            with suppress(psycopg.OperationalError), psycopg.connect(url.reveal(), connect_timeout=int(TIMEOUT_S)):
                return CheckResult(True)
        self._query("SELECT 1")
        return CheckResult(True)

    def warm_up(self, url: str) -> None:
        """Fetch the URL, and wait for the answer. Errors are ignored."""
        with suppress(httpx.HTTPError):
            self._http.get(url, timeout=WARM_UP_S)

    def _check_heartbeat(self, job_type: str, max_age_s: float, started: float) -> CheckResult:
        rows = self._query(
            "SELECT extract(epoch FROM clock_timestamp() - max(latest_heartbeat)) FROM job"
            " WHERE job_type = %(job_type)s AND state = 'running' AND start_date >= to_timestamp(%(started)s)",
            {"job_type": job_type, "started": started},
        )
        age = rows[0][0]
        if age is None:
            return CheckResult(False, "no heartbeat yet")
        return CheckResult(age <= max_age_s, f"last heartbeat {age:.0f} s ago")

    def _check_candidate(self, name: str, max_age_s: float, started: float) -> CheckResult:
        rows = self._query(
            "SELECT state, extract(epoch FROM clock_timestamp() - seen_at) FROM airfleet.seat"
            " WHERE name = %(name)s AND started_at >= to_timestamp(%(started)s)",
            {"name": name, "started": started},
        )
        if not rows:
            return CheckResult(False, "not started yet")
        state, age = rows[0]
        return CheckResult(
            state in (CandidateState.ACTIVE, CandidateState.STANDBY) and age <= max_age_s,
            f"{state}, seen {age:.0f} s ago",
        )

    def retire_jobs(self, job_type: str) -> None:
        """Mark jobs of dead processes of this type as failed, so that their tasks are adopted at once."""
        with suppress(psycopg.Error):  # then they are adopted when their heartbeats are old
            self._query_apart(
                "UPDATE job SET state = 'failed', end_date = now()"
                " WHERE state = 'running' AND job_type = %(job_type)s RETURNING id",
                {"job_type": job_type},
            )

    def was_done(self, job: str, fingerprint: str) -> bool:
        """Return whether this database records a success of the job with this fingerprint."""
        try:
            rows = self._query_apart(
                "SELECT 1 FROM airfleet.job WHERE name = %(name)s AND fingerprint = %(fingerprint)s",
                {"name": job, "fingerprint": fingerprint},
            )
        except psycopg.Error:
            return False
        return bool(rows)

    def note_done(self, job: str, fingerprint: str) -> None:
        """Record the success of a job in the database. If that fails, the job runs once more at the next start."""
        with suppress(psycopg.Error):  # then it runs once more next time
            self._query_apart(
                "INSERT INTO airfleet.job (name, fingerprint, ended_at) VALUES (%(name)s, %(fingerprint)s, now())"
                " ON CONFLICT (name) DO UPDATE SET fingerprint = excluded.fingerprint, ended_at = excluded.ended_at"
                " RETURNING name",
                {"name": job, "fingerprint": fingerprint},
            )

    def _query(self, sql: LiteralString, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        # A login takes the server and this process several times as long as a query.
        if not self._lock.acquire(timeout=TIMEOUT_S):  # a check waits for the server, and no other should wait for it
            return self._query_apart(sql, parameters)
        try:
            if self._kept is not None:
                with suppress(psycopg.OperationalError):  # the server has restarted since, or closed the connection
                    return self._kept.execute(sql, parameters).fetchall()
                self._kept.close()
                self._kept = None
            self._kept = connect(self._database)
            return self._kept.execute(sql, parameters).fetchall()
        finally:
            self._lock.release()

    def _query_apart(self, sql: LiteralString, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Query with a login, which fails after a while if the server hangs. At a kept connection no query does."""
        with connect(self._database) as connection:
            return connection.execute(sql, parameters).fetchall()


def _check_consumers(url: Secret, queue: str, authorities: Path | None) -> CheckResult:
    parts = urlsplit(url.reveal())
    address = BrokerAddress(
        host=parts.hostname or "",
        port=parts.port or 0,
        vhost=unquote(parts.path.removeprefix("/")),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        has_tls=parts.scheme == "amqps",
        authorities=str(authorities or ""),
    )
    with amqp.Connection(**address.options(timeout_s=TIMEOUT_S)) as connection:
        try:
            found = connection.channel().queue_declare(queue, passive=True)
        except amqp.NotFound:
            return CheckResult(False, f"the queue {queue} does not exist yet")
    return CheckResult(found.consumer_count > 0, wording.count(found.consumer_count, "worker"))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]

"""The scheduler process of an agent: forked and prepared early, waits for its epoch, and ends with its agent."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from typing import NoReturn, Protocol

from setproctitle import setproctitle

from airfleet_provider.processes import fork_server, lifecycle
from airfleet_provider.scheduler_ha.db_session import DbSession

EPOCH_BYTES = 32
READY = b"ready"


class SchedulerWork(Protocol):
    """The work that an agent lets run while it holds the lease."""

    @property
    def is_local(self) -> bool:
        """Whether the work runs tasks as its own processes, which must end before another agent's work may start."""

    def prepare(self) -> None:
        """In the child: do slow preparations, and change nothing outside this process."""

    def run(self, epoch: int) -> int:
        """In the child: work for this epoch until a signal stops it; return the exit code."""

    def retire(self, session: DbSession) -> None:
        """In the agent: record that the work of earlier epochs has ended."""

    def read_beat(self, session: DbSession) -> str:
        """In the agent: return a text that changes with each heartbeat of the work."""


class SchedulerProcess:
    """A forked child that waits for its epoch."""

    def __init__(self, work: SchedulerWork, name: str) -> None:
        ours, theirs = socket.socketpair()
        agent = os.getpid()
        lifecycle.flush()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _live(work, theirs, agent, name)
        theirs.close()
        ours.setblocking(False)
        self._channel = ours
        self._ready = False

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the child is ready or has ended."""
        return self._channel.fileno()

    def is_ready(self) -> bool:
        """Return whether the child is ready and waits for its epoch."""
        if not self._ready:
            with suppress(BlockingIOError, ConnectionError):
                self._ready = self._channel.recv(len(READY)) == READY
        return self._ready

    def start(self, epoch: int) -> None:
        """Let the child run for this epoch; if the child has died, `reap` reports it."""
        with suppress(OSError):
            self._channel.send(str(epoch).encode())

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def reap(self, *, patiently: bool = False) -> int | None:
        """Return the child's exit code, negative for a signal, or None while it lives; `patiently` waits for it."""
        pid, status = os.waitpid(self.pid, 0 if patiently else os.WNOHANG)
        if not pid:
            return None
        self._channel.close()
        return os.waitstatus_to_exitcode(status)


def _live(work: SchedulerWork, channel: socket.socket, agent: int, name: str) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        lifecycle.die_with(agent)
        setproctitle(f"{name}, made ready")
        work.prepare()
        channel.send(READY)
        setproctitle(f"{name}, stands by")
        epoch = channel.recv(EPOCH_BYTES)
        channel.close()
        if epoch:
            setproctitle(f"{name}, active, epoch {epoch.decode()}")
            code = work.run(int(epoch))
    except SystemExit as stop:
        code = fork_server.exit_code(stop)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        lifecycle.flush()
        os._exit(code)

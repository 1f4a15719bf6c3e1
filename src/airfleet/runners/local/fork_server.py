"""The supervisor's end of the fork server. The other end is the image, from which Airflow's components are forked."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from airfleet.components.model import Process, reveal
from airfleet.runners.local.supervision import CheckResult
from airfleet_provider.contract.fork_protocol import EARLY, GO, PING, WARM

REPLY_BYTES = 4096
# Seconds until an answer. An image that still imports answers between two modules.
ANSWER_S = 30.0
# A warm image is asked this often whether it answers. One that owes an answer for so many seconds is not healthy.
PING_EVERY_S = 5.0
SILENT_S = 10.0


@dataclass(slots=True)
class Child:
    """A forked process, and the pipe (`gate`) whose message lets it run."""

    pid: int
    gate: int

    def open_gate(self) -> None:
        """Let the process run. If it has died, its exit will show that."""
        with suppress(BrokenPipeError):
            os.write(self.gate, GO)
        os.close(self.gate)

    def close(self) -> None:
        """Close the gate of a process that has ended before it was opened."""
        os.close(self.gate)


class ForkServer:
    """Requests to one image. A new image needs a new fork server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._channel, self._other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._is_early = self._is_warm = self._heard = False
        self._asked = 0
        self._is_unanswered = False
        self._pinged = clock()
        self._owing: float | None = None

    @property
    def descriptor(self) -> int:
        """Return the descriptor that the image inherits. Call `hand_over` after it was started."""
        return self._other_end.fileno()

    @property
    def channel(self) -> int:
        """Return the descriptor at which answers arrive."""
        return self._channel.fileno()

    def hand_over(self) -> None:
        """Close the image's end in this process, so that the channel closes when the image dies."""
        self._other_end.close()

    def close(self) -> None:
        """Close the channel. The image then ends."""
        self._channel.close()

    def is_warm(self) -> bool:
        """Return whether the image has imported its modules and accepts requests. This never blocks."""
        self._channel.settimeout(0)
        with suppress(OSError):  # nothing has arrived, or the image has died
            while (not self._is_warm or self._owing is not None) and self._note(self._channel.recv(REPLY_BYTES)):
                pass
        return self._is_warm

    def is_early(self) -> bool:
        """Return whether the image accepts requests for processes that need only its first modules."""
        return self.is_warm() or self._is_early

    def check(self) -> CheckResult:
        """Return whether the image accepts requests. This never blocks: a later check reads what the image answers."""
        warm, heard, self._heard = self.is_warm(), self._heard, False
        if self._is_silent():
            return CheckResult(False, f"has not answered for {SILENT_S:.0f} s")
        if self._is_early and self._owing is None and self._clock() - self._pinged >= PING_EVERY_S:
            self._pinged = self._owing = self._clock()
            with suppress(OSError):  # it has died, which its exit shows
                self._channel.send(PING)
        # One that answers between two imports does not hang, however long they take on a busy machine.
        return CheckResult(True) if warm else CheckResult(False, "importing Airflow", conclusive=not heard)

    def _is_silent(self) -> bool:
        return self._is_warm and self._owing is not None and self._clock() - self._owing >= SILENT_S

    def _note(self, message: bytes) -> bool:
        self._owing, self._is_unanswered = None, False
        self._heard = bool(message)
        self._is_warm = self._is_warm or message == WARM
        self._is_early = self._is_early or message in (EARLY, WARM)
        return bool(message)

    def fork(self, process: Process, *, env: Mapping[str, str], log: Path) -> Child:
        """Fork one process.

        Raises:
            OSError: The image has died, or does not answer.
        """
        self.is_warm()  # reads what has arrived
        if self._is_unanswered or self._is_silent():  # each request to an image that hangs would keep the supervisor
            raise TimeoutError("the image does not answer")
        self._asked += 1
        self._is_unanswered = True
        self._owing = self._clock() if self._owing is None else self._owing
        self._channel.settimeout(ANSWER_S)
        order = {
            "name": process.name,
            "commands": [[reveal(word) for word in command] for command in process.commands],
            "preload": process.preload,
            "env": {**env, **{key: reveal(value) for key, value in process.env.items()}},
            "supervisor": os.getpid(),
            "number": self._asked,
        }
        gate_read, gate_write = os.pipe()
        try:
            with log.open("ab") as output:
                socket.send_fds(self._channel, [json.dumps(order).encode()], [output.fileno(), gate_read])
            pid = self._await_pid()
        except OSError:
            os.close(gate_write)
            raise
        finally:
            os.close(gate_read)
        return Child(pid, gate_write)

    def _await_pid(self) -> int:
        while message := self._channel.recv(REPLY_BYTES):
            self._note(message)
            if message in (EARLY, WARM, PING):
                continue
            reply = json.loads(message)
            if reply["number"] == self._asked:  # and no late answer, whose process finds its gate closed
                return int(reply["pid"])
        raise ConnectionError("the fork server has gone")

"""The supervisor's end of the fork server. The other end is the image, from which Airflow's components are forked."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from airfleet.components.model import Process, reveal
from airfleet_provider.contract.fork_protocol import GO, WARM

REPLY_BYTES = 4096


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


class ForkServer:
    """Requests to one image. A new image needs a new fork server."""

    def __init__(self) -> None:
        self._channel, self._other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._warm = False

    @property
    def descriptor(self) -> int:
        """Return the descriptor that the image inherits. Call `hand_over` after it was started."""
        return self._other_end.fileno()

    def hand_over(self) -> None:
        """Close the image's end in this process, so that the channel closes when the image dies."""
        self._other_end.close()

    def close(self) -> None:
        """Close the channel. The image then ends."""
        self._channel.close()

    def is_warm(self) -> bool:
        """Return whether the image has imported its modules and accepts requests. This never blocks."""
        if not self._warm:
            with suppress(BlockingIOError):
                self._warm = self._channel.recv(REPLY_BYTES, socket.MSG_DONTWAIT) == WARM
        return self._warm

    def fork(self, process: Process, *, env: Mapping[str, str], log: Path) -> Child:
        """Fork one process.

        Raises:
            ConnectionError: The image has died.
        """
        order = {
            "name": process.name,
            "commands": [[reveal(word) for word in command] for command in process.commands],
            "preload": process.preload,
            "env": {**env, **{key: reveal(value) for key, value in process.env.items()}},
            "supervisor": os.getpid(),
        }
        gate_read, gate_write = os.pipe()
        try:
            with log.open("ab") as output:
                socket.send_fds(self._channel, [json.dumps(order).encode()], [output.fileno(), gate_read])
            reply = self._channel.recv(REPLY_BYTES)
        except OSError:
            os.close(gate_write)
            raise
        finally:
            os.close(gate_read)
        if not reply:
            os.close(gate_write)
            raise ConnectionError("the fork server has gone")
        return Child(json.loads(reply)["pid"], gate_write)

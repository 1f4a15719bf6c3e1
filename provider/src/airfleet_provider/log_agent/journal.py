"""Reads the journal of airfleet's units, each entry once and in its order.

A child `journalctl --follow` reads the files of the journal: their format is systemd's own, and systemd's bindings for
Python have no wheel. It begins after the cursor of the last entry that the store has kept. systemd's gateway would be
one more server on each host, and would not say when it has lost an entry.

An entry is named by its sequence number, which grows for as long as the journal of a host has the same id.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

# What a journal has of services: what they print, and what systemd says of them. Other entries are not even read.
_MATCHES = ("_TRANSPORT=stdout", "+", "_PID=1")
# With --all, a line of more than 4096 characters is shown too. Without --merge, --follow shows the present boot only.
_OPTIONS = (
    *("--follow", "--merge", "--no-tail", "--all", "--quiet", "--output=json"),
    "--output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT",
)
_UNIT = re.compile(r"airfleet-(.+)\.service")
# The sequence number and its id in a cursor. Before systemd 254 they are not fields of their own.
_CURSOR = re.compile(r"s=([0-9a-f]+);i=([0-9a-f]+);")
_SYSTEMD = "init.scope"
# syslog's priorities 0 to 7.
_PRIORITIES = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
_BLOCK = 64 << 10
_STOP_S = 5.0


class JournalError(OSError):
    """journalctl has ended, or prints what it never printed."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A line of a service. `journal` and `number` identify it. `level` is "" where only the text can say it."""

    journal: str
    number: int
    component: str
    at: int
    level: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """The next entries, the cursor of the last of them, and whether more can be read now."""

    entries: Sequence[JournalEntry] = ()
    cursor: str = ""
    has_more: bool = False


class Journal:
    """Follows the journal of this host. One thread uses it."""

    def __init__(self, program: Sequence[str], *, days: int) -> None:
        """Run `program`, which is journalctl. Without a cursor, begin with entries of `days` ago."""
        self._program = tuple(program)
        self._days = days
        self._child: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def read(self, after: str, most: int) -> Block:
        """Return what is there now, of `most` bytes or a little more. `after` counts only at the start of the child.

        Raises:
            JournalError: journalctl has ended. The next call starts it again.
            OSError: It cannot be started.
        """
        child = self._child or self._start(after)
        if child.stdout is None:
            raise JournalError("journalctl has no output")
        got = bytearray()
        has_more = True
        while len(got) < most:
            try:
                block = os.read(child.stdout.fileno(), _BLOCK)
            except BlockingIOError:
                has_more = False
                break
            if not block and got:
                # What it printed before its end counts. The next call tells of the end.
                break
            if not block:
                code = child.wait()
                self.close()
                raise JournalError(f"journalctl has ended with {code}")
            got += block
        *whole, self._rest = (self._rest + bytes(got)).split(b"\n")
        bodies = [_parse(line) for line in whole if line]
        entries = [entry for body in bodies for entry in _find_entries(body)]
        return Block(entries, str(bodies[-1]["__CURSOR"]) if bodies else "", has_more)

    def close(self) -> None:
        """End the child. The next `read` begins after the cursor that it is given."""
        child, self._child, self._rest = self._child, None, b""
        if child is None:
            return
        child.terminate()
        if child.stdout:
            child.stdout.close()
        with suppress(subprocess.TimeoutExpired):
            child.wait(_STOP_S)
            return
        child.kill()
        child.wait()

    def _start(self, after: str) -> subprocess.Popen[bytes]:
        begin = f"--after-cursor={after}" if after else f"--since=-{self._days}d"
        argv = [*self._program, *_OPTIONS, begin, *_MATCHES]
        self._child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        if self._child.stdout:
            os.set_blocking(self._child.stdout.fileno(), False)
        return self._child


def _parse(line: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(line)
        return {**body, "__CURSOR": body["__CURSOR"]}
    except (ValueError, TypeError, KeyError) as error:
        raise JournalError(f"journalctl prints what is no entry: {type(error).__name__}: {error}") from None


def _find_entries(body: Mapping[str, Any]) -> Iterator[JournalEntry]:
    """Yield the entry of a line of journalctl if it is of a unit of airfleet."""
    is_systemd = body.get("_SYSTEMD_UNIT") == _SYSTEMD
    unit = _UNIT.fullmatch(str(body.get("UNIT" if is_systemd else "_SYSTEMD_UNIT", "")))
    if not unit:
        return
    journal, number = _find_place(body)
    priority = str(body.get("PRIORITY", ""))
    level = _PRIORITIES[int(priority)] if is_systemd and priority in set("01234567") else ""
    at = int(body["__REALTIME_TIMESTAMP"])
    yield JournalEntry(journal, number, unit[1], at, level, _read_message(body.get("MESSAGE")))


def _find_place(body: Mapping[str, Any]) -> tuple[str, int]:
    if "__SEQNUM" in body and "__SEQNUM_ID" in body:
        return str(body["__SEQNUM_ID"]), int(body["__SEQNUM"])
    if not (found := _CURSOR.match(str(body["__CURSOR"]))):
        raise JournalError("journalctl shows no sequence number of an entry")
    return found[1], int(found[2], 16)


def _read_message(message: object) -> bytes:
    """Return a message: text, or a list of bytes where it is no UTF-8, or a list of messages."""
    if isinstance(message, list) and all(isinstance(one, int) for one in message):
        return bytes(message)
    if isinstance(message, list):
        return b"\n".join(map(_read_message, message))
    return str(message or "").encode("utf-8", "replace")

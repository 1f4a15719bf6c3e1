"""The writer of the attempt log. A task records its start and end on the disk of its host, before it reports them."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

BEAT_S = 0.5


def work(folder: Path, instance: Mapping[str, Any], seconds: float, check: Callable[[], Sequence[str]] = tuple) -> None:
    """Run for some seconds. The start and the end are on disk before the task continues; signs of life may not be.

    `check` returns the wrong answers that the task got. They are recorded, and the task continues.
    """
    attempt = uuid4().hex
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "ledger.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    how = "ok"
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        place = {"host": socket.gethostname(), "pid": os.getpid(), "boot": boot, "wall": time.time()}
        _append(descriptor, {"what": "start", **instance, "attempt": attempt, **place}, durable=True)
        for wrong in check():
            _append(descriptor, {"what": "wrong", "attempt": attempt, "said": wrong}, durable=True)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(BEAT_S, left))
            _append(descriptor, {"what": "beat", "attempt": attempt}, durable=False)
    except BaseException as error:
        how = type(error).__name__
        raise
    finally:
        _append(descriptor, {"what": "end", "attempt": attempt, "how": how}, durable=True)
        os.close(descriptor)


def _append(descriptor: int, said: Mapping[str, Any], *, durable: bool) -> None:
    # With O_APPEND, one write of a short line is not mixed with the lines of other processes. It starts with a line
    # break, so that a line that a full disk cut off does not spoil the next.
    os.write(descriptor, f"\n{json.dumps({**said, 'mono': time.monotonic()})}\n".encode())
    if durable:
        os.fsync(descriptor)

"""What the recorder does with work whose caller has given up: nothing, unless it must not be lost."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from airfleet_provider.audit.recorder import Recorder
from deadline import PATIENCE_S


def connect() -> Any:  # noqa: ANN401 - psycopg2 has no types
    return SimpleNamespace(cursor=nullcontext, commit=lambda: None, autocommit=True)


def test_work_that_nobody_waits_for_is_not_done() -> None:
    recorder = Recorder(connect)
    may_go = threading.Event()
    done: list[str] = []
    first = recorder.submit(lambda _: may_go.wait(PATIENCE_S))
    given_up = recorder.submit(lambda _: done.append("intent"))
    kept = recorder.submit(lambda _: done.append("outcome"), is_kept=True)
    assert given_up.cancel()
    assert kept.cancel()
    may_go.set()
    assert first.result(PATIENCE_S)
    assert recorder.submit(lambda _: "next").result(PATIENCE_S) == "next"
    assert done == ["outcome"]

"""The words between a task and the platform. They travel as the name of a variable that no variable has.

A task reaches the platform through Airflow's supervisor alone, and the supervisor passes on only what it knows, such as
the read of a variable. So a request is the name of a variable, and the answer is its value. An API without airfleet
answers that there is no such variable, and the task goes on as if there were no breaker.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

PREFIX = "airfleet-breaker/"
# Longer texts of a request are cut off.
ERROR_CHARS = 200


@dataclass(frozen=True, slots=True)
class Starts:
    """The task is about to call services: those that its rules or its connections name, or that its code names."""

    declared: tuple[str, ...] = ()
    by_code: tuple[str, ...] = ()
    # Whether the task begins. Its tries count, and not each call.
    is_start: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """The task failed with an error which says that a service is away.

    `sure` are breakers of the task. `perhaps` are those of connections: they count if the task has read the connection.
    """

    sure: tuple[str, ...]
    perhaps: tuple[str, ...]
    error: str
    retry_after_s: float | None = None


Request = Starts | Failed
_KINDS = {"starts": Starts, "failed": Failed}


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """What the task does: it goes on, or it waits so many seconds for a breaker without the loss of a try.

    Or for a limit, whose name `breaker` has then.
    """

    breaker: str = ""
    why: str = ""
    wait_s: float | None = None
    is_limit: bool = False


def encode(request: Request) -> str:
    """Return the name of the variable that stands for a request. It is of letters and digits after `PREFIX`."""
    kind = next(name for name, one in _KINDS.items() if isinstance(request, one))
    return PREFIX + json.dumps([kind, asdict(request)], separators=(",", ":")).encode().hex()


def decode(name: str) -> Request:
    """Return the request in the name of a variable.

    Raises:
        ValueError: It is none.
    """
    try:
        kind, data = json.loads(bytes.fromhex(name.removeprefix(PREFIX)))
        return _read(kind, data)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no request of a task: {type(error).__name__}") from None


def _read(kind: str, data: dict[str, Any]) -> Request:
    if kind == "starts":
        return Starts(_texts(data["declared"]), _texts(data["by_code"]), bool(data.get("is_start", True)))
    if kind != "failed":
        raise ValueError("no request of a task: an unknown kind")
    after = data["retry_after_s"]
    return Failed(
        _texts(data["sure"]),
        _texts(data["perhaps"]),
        _text(data["error"])[:ERROR_CHARS],
        # NaN becomes 0.
        None if after is None else min(max(0.0, float(after)), 3600.0),
    )


def _texts(found: Any) -> tuple[str, ...]:  # noqa: ANN401 - a task wrote it
    return tuple(map(_text, found))


def _text(found: Any) -> str:  # noqa: ANN401 - a task wrote it
    """Return a text that PostgreSQL can hold: without NUL and half characters."""
    return str(found).replace("\0", "").encode(errors="ignore").decode()


def encode_answer(answer: GateAnswer) -> str:
    """Return the value that stands for an answer. One about a breaker can be read by a task of an earlier version."""
    return json.dumps({name: value for name, value in asdict(answer).items() if name != "is_limit" or value})


def decode_answer(value: str | None) -> GateAnswer:
    """Return the answer in a value; going on if there is none."""
    return GateAnswer(**json.loads(value)) if value else GateAnswer()

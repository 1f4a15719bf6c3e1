"""A death at a line of chosen modules, as by kill -9: for tests that try each line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

# A line: the file of a module, and the number in it.
Line = tuple[str, int]


class KilledError(BaseException):
    """The process was killed here."""


def run_until(deed: Callable[[], object], kill_at: Line | None, *modules: ModuleType) -> list[Line]:
    """Run something, die at a line of the modules when it is reached first, and return the lines that were reached."""
    files = {module.__file__ for module in modules}
    reached: dict[Line, None] = {}

    def trace(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401 - the type of a trace function
        if frame.f_code.co_filename not in files:
            return None
        line = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line":
            reached.setdefault(line)
            if line == kill_at:
                raise KilledError
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        deed()
    except KilledError:
        pass
    finally:
        sys.settrace(former)
    return list(reached)

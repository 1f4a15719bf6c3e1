"""Find the place in a traceback that the author of a Dag can change."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+)', re.MULTILINE)
_RAISED = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?")


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """An exception, and the innermost frame that is in a file of the release. Line 0 means unknown."""

    kind: str
    message: str
    path: str
    line: int


def read(text: str, *, files: Iterable[str], own: str) -> LoadFailure:
    """Return the failure that a traceback ends with. Without a frame in `files`, the failure is in the file `own`."""
    paths = sorted({own, *files}, key=len, reverse=True)
    frames = list(_FRAME.finditer(text))
    path, line = own, 0
    for frame in frames:
        found = next((one for one in paths if f"/{frame['file']}".endswith(f"/{one}")), None)
        if found:
            path, line = found, int(frame["line"])
    rest = text[frames[-1].end() :] if frames else text
    said = next((one for one in rest.splitlines() if one and not one[0].isspace() and one[0] != ","), "")
    raised = _RAISED.fullmatch(said)
    if not raised:
        # If the parsing process died, there is no traceback. The parser then wrote `dags/x.py: what happened`.
        return LoadFailure("", said.removeprefix(f"{own}: ").strip(), path, line)
    return LoadFailure(raised["name"].rpartition(".")[2], (raised["message"] or "").strip(), path, line)

"""Print why the log agent of this host may not have sent all, or nothing if it has. The Python of the host runs this.

Two turns of each store have to end while this looks: the first may have begun before the last line was written.
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.request
from pathlib import Path

LINE = re.compile(r'^airfleet_log_(waiting_bytes|age_seconds){store="([^"]*)"} (\S+)$', re.M)
TIMEOUT_S, PAUSE_S = 5.0, 0.5


def main(config: str, limit_s: str) -> None:
    """Look until the agent has sent all, for so many seconds at most."""
    server = json.loads(Path(config).read_text(encoding="utf-8"))["server"]
    address = "127.0.0.1" if server["address"] in ("", "0.0.0.0") else server["address"]  # noqa: S104
    url, began = f"http://{address}:{server['port']}/metrics", time.monotonic()
    ends: dict[str, list[float]] = {}
    while True:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                rest = find_rest(answer.read().decode(), time.monotonic() - began, ends)
        except OSError as error:
            rest = f"the log agent does not answer: {error}"
        if not rest or time.monotonic() - began >= float(limit_s):
            sys.stdout.write(rest)
            return
        time.sleep(PAUSE_S)


def find_rest(text: str, now: float, ends: dict[str, list[float]]) -> str:
    """Return what is still to be sent. `ends` has for each store when turns ended, in seconds since the first look."""
    said: dict[str, dict[str, float]] = {}
    for what, store, value in LINE.findall(text):
        said.setdefault(store, {})[what] = float(value)
    if not said:
        return "the log agent says nothing of its stores"
    for store, one in sorted(said.items()):
        end, seen = now - one["age_seconds"], ends.setdefault(store, [])
        # Two looks compute the same moment to some milliseconds.
        if end > 0 and (not seen or end > seen[-1] + 0.1):
            seen.append(end)
        if len(seen) < 2:
            return f"the log store {store} last took lines {one['age_seconds']:.0f} s ago"
        if one["waiting_bytes"]:
            return f"{one['waiting_bytes']:.0f} bytes are left for the log store {store}"
    return ""


if __name__ == "__main__":
    main(*sys.argv[1:])

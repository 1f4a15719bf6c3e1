"""`python -m airfleet_provider.agents`: the agents process, until a signal stops it."""

from __future__ import annotations

import sys
from typing import Any


def main() -> int:
    """Run the process; return its exit code."""
    # The command line of httpx, for which httpx imports rich, click and pygments: 5 MiB on each machine with agents.
    modules: dict[str, Any] = sys.modules
    modules.setdefault("httpx._main", None)
    from airfleet_provider.agents import process  # noqa: PLC0415 - it imports httpx

    return process.main()


if __name__ == "__main__":
    sys.exit(main())

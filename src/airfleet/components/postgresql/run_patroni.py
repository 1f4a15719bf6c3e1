"""Run Patroni, and let a switch-over take as long as PostgreSQL needs. Patroni's own Python runs this text.

Patroni looks once a second whether the server that it stops has stopped, and then waits another second before it lets
the replica take over. Nobody takes writes meanwhile. Here it looks ten times a second. It does not rely on the second:
afterwards it asks the replica whether it has received everything, and if not, it waits until the server's last process
has ended.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
import time
from typing import Any

POLL_S = 0.1
# Seconds in which a replica that follows receives the last bytes. A primary stops only after it has sent them.
CATCH_UP_S = 0.2


class PatientClock:
    """Stands for the module `time`. Within `hurry`, no sleep is longer than `CATCH_UP_S`."""

    def __init__(self) -> None:
        self._own = threading.local()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        """Sleep, at most as long as this thread may now."""
        time.sleep(min(seconds, CATCH_UP_S) if getattr(self._own, "hurries", False) else seconds)

    def hurry(self, do: Any) -> Any:  # noqa: ANN401 - a function of Patroni's
        """Return a function that does the same in a hurry."""

        @functools.wraps(do)
        def hurried(*words: Any, **options: Any) -> Any:  # noqa: ANN401 - Patroni's own
            self._own.hurries = True
            try:
                return do(*words, **options)
            finally:
                self._own.hurries = False

        return hurried


def shorten_stops(server: Any, ha: Any) -> None:  # noqa: ANN401 - the modules patroni.postgresql and patroni.ha
    """Let Patroni notice at once that its server has stopped.

    Raises:
        AttributeError: This version does it in another way, and is left alone.
    """
    clock, stop = PatientClock(), server.Postgresql.stop
    if not hasattr(server, "STOP_POLLING_INTERVAL") or ha.time is not time:
        raise AttributeError("it waits in another way")
    server.STOP_POLLING_INTERVAL, ha.time = POLL_S, clock

    @functools.wraps(stop)
    def stop_soon(self: Any, *words: Any, on_shutdown: Any = None, **options: Any) -> Any:  # noqa: ANN401 - Patroni's
        return stop(self, *words, on_shutdown=clock.hurry(on_shutdown) if on_shutdown else None, **options)

    server.Postgresql.stop = stop_soon


def main() -> None:
    """Run Patroni with the arguments of this process."""
    # Patroni's modules import each other, and only in this order.
    try:
        shorten_stops(importlib.import_module("patroni.postgresql"), importlib.import_module("patroni.ha"))
    except (ImportError, AttributeError) as error:
        print(f"airfleet: this is another Patroni, so a switch-over takes longer: {error}", file=sys.stderr)
    importlib.import_module("patroni.__main__").main()


if __name__ == "__main__":
    main()

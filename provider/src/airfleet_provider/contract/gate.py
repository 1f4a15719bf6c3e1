"""The gate of a process that a runner starts before its work may begin, so that its imports take no time later."""

from __future__ import annotations

import os
from collections.abc import Mapping

from airfleet_provider.contract.environment import GATE
from airfleet_provider.contract.fork_protocol import GO


def wait(environ: Mapping[str, str]) -> None:
    """Wait until this process may begin. Without a gate in its environment, it may at once.

    Raises:
        SystemExit: The runner is gone.
    """
    descriptor = environ.get(GATE)
    if descriptor is None:
        return
    with os.fdopen(int(descriptor), "rb", buffering=0) as gate:
        if gate.read(len(GO)) != GO:
            raise SystemExit(1)

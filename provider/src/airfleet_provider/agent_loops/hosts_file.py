"""The file with what the agents know of the hosts of a fleet: a host that joins or leaves restarts no agents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airfleet_provider.contract.agents_config import AgentsKey


class HostsFile:
    """The sections of the agents' configuration that depend on the hosts. Each loop has an object of its own."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is the configuration of the agents."""
        path = config.get(AgentsKey.HOSTS)
        self._path = Path(path) if path else None
        self._sections: Mapping[str, Any] = config
        self._stamp: tuple[int, int, int] | None = None

    def read(self, section: AgentsKey) -> Mapping[str, Any]:
        """Return a section as it is now. The file is read only if it is another one than at the last call.

        Raises:
            OSError, ValueError: The file cannot be read, or is no JSON.
        """
        if self._path:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp != self._stamp:
                self._sections = json.loads(self._path.read_text("utf-8"))
                self._stamp = stamp
        sections: Mapping[str, Any] = self._sections.get(section, {})
        return sections

"""An OpenSearch node on this machine, for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx

from airfleet.runners.local import ports
from deadline import PATIENCE_S, wait_until


class Node:
    """One node with its data in a folder, on a port of this machine."""

    def __init__(self, jars: Path, classes: Path, home: Path) -> None:
        self._jars, self._classes, self._home = jars, classes, home
        (home / "config").mkdir(parents=True)
        self.port = ports.find_several(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [
            "java",
            "-Xms256m",
            "-Xmx512m",
            "-Dlog4j2.disable.jmx=true",
            "-cp",
            f"{self._classes}:{self._jars}/*",
        ]
        with (self._home / "node.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "Main", str(self._home), str(self.port)], stdout=log, stderr=log
            )
        wait_until(self.is_ready, "an OpenSearch node", every_s=0.5, seen=self._process.poll)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/_cluster/health", timeout=5).json()["status"] in ("yellow", "green")
        except (httpx.HTTPError, ValueError, KeyError):
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)

"""The driver `command`: a program of the user's makes the machines."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airfleet.errors import AirfleetError
from airfleet.operations.machines.driver import FLEET_TAG, KEY_TAG, Machine, UserData
from airfleet.spec.machines import MachineGroup

CONTRACT = 1
TIMEOUT_S = 900.0


class CommandDriver:
    """A program of the user's: one process for each action, a JSON object on its stdin, one on its stdout."""

    takes_late = False

    def __init__(
        self,
        command: tuple[str, ...],
        *,
        fleet: str,
        project: Path,
        user_data: UserData = lambda _: "",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._command = command
        self._user_data = user_data
        self._fleet = fleet
        self._project = project
        self._timeout_s = timeout_s

    def list(self) -> tuple[Machine, ...]:
        """Return every machine with the tag of this fleet."""
        found = self._run("list", {}).get("machines")
        if not isinstance(found, list):
            raise self._fail("list", 'its answer has no list "machines"')
        return tuple(self._read("list", one) for one in found)

    def list_unfinished(self) -> frozenset[str]:
        """Return nothing: the contract with the program has no such question."""
        return frozenset()

    def create(self, name: str, key: str, group: MachineGroup) -> Machine:
        """Make a machine."""
        wanted = {
            "name": name,
            "group": group.name,
            "cpus": group.cpus,
            "memory_bytes": group.memory,
            "disk_bytes": group.disk,
            "image": group.image,
            "network": group.network,
            "storage": group.storage,
            "type": group.type,
            "apart": group.apart,
            "user_data": self._user_data(name),
            "tags": {FLEET_TAG: self._fleet, KEY_TAG: key},
        }
        made = self._read("create", self._run("create", {"machine": wanted}))
        if made.key != key:
            raise self._fail("create", f"it answered with a machine of another key: {made.id}")
        return made

    def destroy(self, machine: Machine) -> None:
        """Destroy a machine."""
        self._run("destroy", {"id": machine.id, "tags": {FLEET_TAG: self._fleet, KEY_TAG: machine.key}})

    def _run(self, action: str, body: Mapping[str, object]) -> dict[str, Any]:
        request = json.dumps({"contract": CONTRACT, "action": action, "fleet": self._fleet, **body})
        program, *arguments = self._command
        # A path with a slash is the project's; a bare name is looked up as every command is.
        path = str(self._project / program) if "/" in program else program
        try:
            done = subprocess.run(
                [path, *arguments],
                input=request,
                cwd=self._project,
                env=os.environ,
                capture_output=True,
                text=True,
                check=False,
                timeout=self._timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise self._fail(action, f"it did not end within {self._timeout_s:g} s") from None
        except OSError as error:
            raise self._fail(action, f"it cannot be started: {error.strerror}") from None
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise self._fail(action, f"exit code {done.returncode}: {reason}")
        try:
            answer = json.loads(done.stdout or "{}")
        except ValueError:
            raise self._fail(action, "its answer is not JSON") from None
        if not isinstance(answer, dict):
            raise self._fail(action, "its answer is not a JSON object")
        return answer

    def _read(self, action: str, one: object) -> Machine:
        if not isinstance(one, dict) or not isinstance(one.get("id"), str) or not one["id"]:
            raise self._fail(action, 'a machine in its answer has no "id"')
        tags = one.get("tags")
        key = tags.get(KEY_TAG) if isinstance(tags, dict) and tags.get(FLEET_TAG) == self._fleet else ""
        return Machine(one["id"], str(one.get("name") or ""), str(key or ""), str(one.get("address") or ""))

    def _fail(self, action: str, what: str) -> AirfleetError:
        return AirfleetError(f"the driver failed to {action}: {what}", where=self._command[0])

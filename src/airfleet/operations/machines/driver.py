"""What makes and destroys machines. The contract that every driver keeps is in docs/guides/machines.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from airfleet.errors import AirfleetError
from airfleet.spec.machines import MachineGroup

# Every machine that airfleet makes has these tags. The key is random, and new for each machine: 32 digits, base 16.
FLEET_TAG, KEY_TAG, GROUP_TAG = "airfleet-fleet", "airfleet-key", "airfleet-group"

# The cloud-init user-data of a machine by its name. It is empty where the image has all logins.
UserData = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as the driver sees it. `address` is empty until it is known, `key` if the machine has no such tag.

    `trouble` says why it will never run, where the driver knows that.
    """

    id: str
    name: str
    key: str
    address: str
    trouble: str = ""


class UnsureError(AirfleetError):
    """A request failed, and may have been taken all the same."""


class Driver(Protocol):
    """Makes, finds and destroys machines. Every method raises AirfleetError if the driver fails."""

    @property
    def takes_late(self) -> bool:
        """Whether a request may still be taken when `create` has looked for its key already.

        It is False where the key itself, or a name, refuses a second machine. Where it is True, an error of `create`
        says that there is no machine of this key, unless it is an UnsureError.
        """

    def list(self) -> tuple[Machine, ...]:
        """Return every machine with the tag of this fleet."""

    def create(self, name: str, key: str, group: MachineGroup) -> Machine:
        """Make a machine with these tags, and start it.

        If a machine with this key exists, make none: do what an interruption left undone, and return that machine.
        """

    def list_unfinished(self) -> frozenset[str]:
        """Return ids of requests for machines, also of others, that were taken and have not ended.

        It is empty for a driver whose `list` shows a machine as soon as the request for it was taken.
        """

    def destroy(self, machine: Machine) -> None:
        """Destroy a machine. A machine that is gone already is destroyed, one with other tags is refused."""

"""Exchange a secret for another one without a moment in which a login is refused.

A rotation goes through steps, and each is over only when every host is as it should be:

ACCEPT   whoever checks the secret knows both values; everybody still uses the former one
USE      everybody uses the new value; both are still accepted
FINISH   everybody uses the new value; what was kept under the former one is rewritten, and what lives on is waited for
SETTLED  the former value is forgotten

The ledger on the control machine keeps every value that some host may still use. It is written before any host is given
the new value, so a command that was killed goes on from where it was.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from airfleet.spec.secrets import Rotating, Secret
from airfleet.workspace.state_folder import write_file

NAME = "rotations.json"
# What a task takes with it when it starts stays valid for as long as Airflow lets it: the task's token (2 h, renewed
# while the task runs, and accepted 10 minutes longer), and the login of a project's own database.
CARRIED_S = 2 * 3600 + 600
# A backup from before a rotation holds these in their former value.
SUPERUSER = "postgres_superuser"
KEPT = frozenset({"fernet_key", SUPERUSER})
# Logins that no task is ever given for its own use.
OWN_LOGINS = frozenset(
    f"postgres_{name}"
    for name in ("airflow", "celery", "monitor", "replicator", "results_reader", "results_writer", "superuser")
)


class RotationStep(enum.StrEnum):
    """How far a rotation has come."""

    SETTLED = "settled"
    ACCEPT = "accept"
    USE = "use"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class HeldValue:
    """One value that some host may use, and the number that tells its login from those of the others."""

    slot: int
    value: Secret


@dataclass(frozen=True, slots=True)
class RotatedSecret:
    """One secret: its values, the newest last, the one in use, and since when the step lasts by this machine's clock.

    `retired` are values that nobody accepts any more, kept for secrets without which an old backup cannot be read.
    """

    held: tuple[HeldValue, ...]
    used: int
    step: RotationStep = RotationStep.SETTLED
    since: float = 0.0
    retired: tuple[Secret, ...] = ()


def notice(entry: RotatedSecret | None, current: Secret) -> RotatedSecret:
    """The entry after a look at the secret's file: another value there begins a rotation."""
    if entry is None:
        return RotatedSecret((HeldValue(0, current),), 0)
    if entry.held[-1].value == current:
        return entry
    same = [one for one in entry.held if one.value == current]
    others = tuple(one for one in entry.held if one.value != current)
    taken = {one.slot for one in entry.held}
    new = same[0] if same else HeldValue(next(slot for slot in range(len(taken) + 1) if slot not in taken), current)
    return replace(entry, held=(*others, new), step=RotationStep.ACCEPT)


def advance(entry: RotatedSecret, now: float, *, carried_s: float = 0.0, keeps: bool = False) -> RotatedSecret:
    """The entry once every host is as the present step wants it."""
    match entry.step:
        case RotationStep.ACCEPT:
            return replace(entry, step=RotationStep.USE, used=entry.held[-1].slot)
        case RotationStep.USE:
            return replace(entry, step=RotationStep.FINISH, since=now)
        case RotationStep.FINISH if _waits_s(entry, now, carried_s) <= 0:
            gone = (*entry.retired, *(one.value for one in entry.held[:-1])) if keeps else ()
            return RotatedSecret(entry.held[-1:], entry.used, retired=gone)
        case _:
            return entry


def _waits_s(entry: RotatedSecret, now: float, carried_s: float) -> float:
    # A clock that was set back may not keep the former value for ever.
    return min(entry.since + carried_s - now, carried_s)


def present(entry: RotatedSecret) -> Rotating:
    """The secret as the hosts are given it in this step."""
    ordered = sorted(entry.held, key=lambda one: one.slot)
    others = tuple(Rotating(one.value.reveal(), slot=one.slot) for one in ordered if one.slot != entry.used)
    [used] = [one for one in entry.held if one.slot == entry.used]
    return Rotating(used.value.reveal(), slot=used.slot, others=others, is_settling=entry.step is RotationStep.FINISH)


def present_alone(name: str, entry: RotatedSecret) -> Rotating:
    """The secret on one machine, where everything starts anew with the newest value; the former ones are still read."""
    former = [one.value for one in entry.held[:-1]]
    # Data that was restored has the superuser's password of its time; the first to log in sets the present one.
    tried = entry.retired if name == SUPERUSER else ()
    others = tuple(Rotating(value.reveal()) for value in (*former, *tried))
    return Rotating(entry.held[-1].value.reveal(), others=others, is_settling=bool(former))


class RotationLedger:
    """All secrets of one platform, in a file beside them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        body: Mapping[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._entries = {name: _parse(one) for name, one in body.items()}
        self._written = dict(self._entries)

    def notice(self, name: str, current: Secret) -> RotatedSecret:
        """Look at a secret's present value; `write` before anybody is given it."""
        self._entries[name] = notice(self._entries.get(name), current)
        return self._entries[name]

    def write(self) -> None:
        """Keep what was noticed."""
        if self._entries != self._written:
            write_file(self._path, json.dumps({name: _render(one) for name, one in self._entries.items()}, indent=1))
            self._written = dict(self._entries)

    def advance(self, now: float, *, at_once: bool = False) -> bool:
        """Let every rotation take its next step, as every host is as the present one wants it; whether any did.

        With `at_once` nothing is waited for that may still use a former value.
        """
        before = dict(self._entries)
        for name, entry in before.items():
            carried_s = 0.0 if at_once else find_carried(name)
            self._entries[name] = advance(entry, now, carried_s=carried_s, keeps=name in KEPT)
        self.write()
        return self._entries != before

    def forget(self, names: Iterable[str]) -> None:
        """Drop secrets that nothing has any more."""
        for name in names:
            self._entries.pop(name, None)
        self.write()

    def settle(self, now: float) -> None:
        """Forget former values, all steps at once: on one machine, once everything runs with the newest."""
        for name, entry in self._entries.items():
            if entry.step is RotationStep.SETTLED:
                continue
            if entry.step is not RotationStep.FINISH:
                entry = replace(entry, step=RotationStep.FINISH, used=entry.held[-1].slot, since=now)  # noqa: PLW2901
            self._entries[name] = advance(entry, now, carried_s=find_carried(name), keeps=name in KEPT)
        self.write()

    def is_due(self, now: float, *, at_once: bool = False) -> bool:
        """Whether a rotation could go on now."""
        return any(
            advance(one, now, carried_s=0.0 if at_once else find_carried(name)) != one
            for name, one in self._entries.items()
        )

    def describe(self, now: float) -> Iterator[str]:
        """One line for each rotation under way."""
        for name, entry in sorted(self._entries.items()):
            wait_s = _waits_s(entry, now, find_carried(name))
            match entry.step:
                case RotationStep.ACCEPT:
                    yield f"{name}: the new value becomes known beside the former one"
                case RotationStep.USE:
                    yield f"{name}: the new value comes into use; the former one is still accepted"
                case RotationStep.FINISH if wait_s > 0:
                    yield (
                        f"{name}: tasks may still carry the former value; "
                        f"the first apply in {wait_s / 60:.0f} minutes or later ends it"
                    )
                case RotationStep.FINISH:
                    yield f"{name}: the former value is about to end"
                case _:
                    pass


def find_carried(name: str) -> float:
    """For how long a task may use a value of this secret that it was given when it started."""
    is_own_database = name.startswith("postgres_") and name not in OWN_LOGINS
    return CARRIED_S if name == "jwt_secret" or is_own_database else 0.0


def _parse(body: Mapping[str, Any]) -> RotatedSecret:
    held = tuple(HeldValue(int(one["slot"]), Secret(one["value"])) for one in body["held"])
    retired = tuple(Secret(value) for value in body.get("retired", ()))
    return RotatedSecret(held, int(body["used"]), RotationStep(body["step"]), float(body["since"]), retired)


def _render(entry: RotatedSecret) -> dict[str, object]:
    held = [{"slot": one.slot, "value": one.value.reveal()} for one in entry.held]
    retired = [value.reveal() for value in entry.retired]
    return {"held": held, "used": entry.used, "step": str(entry.step), "since": entry.since, "retired": retired}

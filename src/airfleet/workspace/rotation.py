"""Exchange a secret so that no login is refused at any moment (ADR 30).

A rotation has steps. A step is done when every host is as the step describes:

ACCEPT   servers accept both values; clients still use the former one
USE      clients use the new value; servers still accept both
FINISH   clients use the new value; data under the former one is rewritten, and tasks that carry it have time to end
SETTLED  servers no longer accept the former value

The ledger on the control machine, `rotations.json`, keeps every value that a host may still use. It is written before
any host gets the new value. So a command continues where a killed command stopped. It is kept twice, because nobody
else knows which values the hosts have.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from airfleet.spec.secrets import Rotating, Secret
from airfleet.workspace.state_folder import JWT_KEY, write_file

NAME = "rotations.json"
# The second copy, beside the first. It is written before the first one, and read where that is missing.
COPY = "rotations-copy.json"
# The former value of a secret that is new to a fleet which is at work already.
NONE = Secret("")
# Seconds for which a running task may use a value that it got at its start: its token (Airflow issues it for 2 h,
# renews it while the task runs, and accepts it 10 minutes longer), or the login of a project's own database.
CARRIED_S = 2 * 3600 + 600
# Airflow issues the token of a user for a day (`[api_auth] jwt_expiration_time`), which is longer than any of a task.
SESSIONS_S = 24 * 3600 + 600
# The secrets of KEPT protect data in backups, so their former values stay in the ledger.
SUPERUSER = "postgres_superuser"
KEPT = frozenset({"fernet_key", SUPERUSER})
# Logins that no task gets.
OWN_LOGINS = frozenset(
    f"postgres_{name}"
    for name in (
        "airflow",
        "celery",
        "monitor",
        "replicator",
        "results_reader",
        "results_writer",
        "rewinder",
        "superuser",
    )
)


class RotationStep(enum.StrEnum):
    """The step of a rotation; the module describes each."""

    SETTLED = "settled"
    ACCEPT = "accept"
    USE = "use"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class HeldValue:
    """One value that a host may use. `slot` distinguishes its login from the logins of the other values."""

    slot: int
    value: Secret


@dataclass(frozen=True, slots=True)
class RotatedSecret:
    """One secret and the state of its rotation.

    `held` are the values that hosts may use, the newest last; `used` is the slot of the value in use. The step began at
    `since`, in seconds since 1970 by the clock of this machine. `retired` are values that no server accepts any more;
    they are kept only for secrets that an old backup needs.
    """

    held: tuple[HeldValue, ...]
    used: int
    step: RotationStep = RotationStep.SETTLED
    since: float = 0.0
    retired: tuple[Secret, ...] = ()


def notice(entry: RotatedSecret | None, current: Secret) -> RotatedSecret:
    """Return the entry after the file of the secret was read. If `current` is a new value, a rotation starts."""
    if entry is None:
        return RotatedSecret((HeldValue(0, current),), 0)
    if entry.held[-1].value == current:
        return entry
    same = [one for one in entry.held if one.value == current]
    others = tuple(one for one in entry.held if one.value != current)
    taken = {one.slot for one in entry.held}
    new = same[0] if same else HeldValue(next(slot for slot in range(len(taken) + 1) if slot not in taken), current)
    return replace(entry, held=(*others, new), step=RotationStep.ACCEPT)


def introduce(current: Secret) -> RotatedSecret:
    """The entry of a secret that is new to hosts which are at work already; until the step USE they go without it."""
    return RotatedSecret((HeldValue(0, NONE), HeldValue(1, current)), 0, RotationStep.ACCEPT)


def advance(entry: RotatedSecret, now: float, *, carried_s: float = 0.0, keeps: bool = False) -> RotatedSecret:
    """Return the entry after its next step. Call it when every host is as the current step describes.

    A step FINISH lasts `carried_s` seconds at least. With `keeps`, former values move to `retired`.
    """
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
    # Without the limit, a clock that was set back would keep the former value for ever.
    return min(entry.since + carried_s - now, carried_s)


def present(entry: RotatedSecret) -> Rotating:
    """Return the secret as hosts get it in the current step."""
    ordered = sorted(entry.held, key=lambda one: one.slot)
    others = tuple(Rotating(one.value.reveal(), slot=one.slot) for one in ordered if one.slot != entry.used)
    [used] = [one for one in entry.held if one.slot == entry.used]
    return Rotating(used.value.reveal(), slot=used.slot, others=others, is_settling=entry.step is RotationStep.FINISH)


def present_alone(name: str, entry: RotatedSecret) -> Rotating:
    """Return the secret for a platform on one machine.

    Every process starts with the newest value. The former values are still accepted, to read data stored under them.
    """
    former = [one.value for one in entry.held[:-1]]
    # Restored data has an older password of the superuser. The first login changes it to the present one.
    tried = entry.retired if name == SUPERUSER else ()
    others = tuple(Rotating(value.reveal()) for value in (*former, *tried))
    return Rotating(entry.held[-1].value.reveal(), others=others, is_settling=bool(former))


class RotationLedger:
    """The rotations of all secrets of one platform, kept in two equal files of the state folder."""

    def __init__(self, folder: Path) -> None:
        """Read the ledger of the secrets in `folder`."""
        self._paths = (folder / COPY, folder / NAME)
        found = [path for path in reversed(self._paths) if path.exists()]
        self.is_missing = not found
        body: Mapping[str, Any] = json.loads(found[0].read_text()) if found else {}
        self._entries = {name: _parse(one) for name, one in body.items()}
        # Whoever has a ledger without the key pair has processes at work whose tokens the shared secret signed.
        self._lacks_key = bool(self._entries) and JWT_KEY not in self._entries
        self._written = dict(self._entries) if len(found) == len(self._paths) else None

    def notice(self, name: str, current: Secret, *, is_introduced: bool = False) -> RotatedSecret:
        """Record the present value of a secret. Call `write` before any host gets the value.

        With `is_introduced` the hosts do not have a secret yet that the ledger does not know.
        """
        entry = self._entries.get(name)
        self._entries[name] = introduce(current) if is_introduced and entry is None else notice(entry, current)
        return self._entries[name]

    def notice_platform(self, name: str, current: Secret, *, is_at_work: bool = False) -> RotatedSecret:
        """Do as `notice` does for a secret of each platform, of which a platform of an earlier version may lack one.

        Give `is_at_work` if hosts are at work already, whatever the ledger knows.
        """
        return self.notice(name, current, is_introduced=name == JWT_KEY and (is_at_work or self._lacks_key))

    def write(self) -> None:
        """Write the ledger, each file atomically. If nothing changed, nothing is written."""
        if self._entries != self._written:
            text = json.dumps({name: _render(one) for name, one in self._entries.items()}, indent=1)
            for path in self._paths:
                write_file(path, text)
            self._written = dict(self._entries)

    def advance(self, now: float, *, at_once: bool = False) -> bool:
        """Advance every rotation by one step, and return whether any advanced.

        Call it when every host is as the current steps describe. With `at_once`, FINISH does not wait for tasks that
        may still use a former value.
        """
        before = dict(self._entries)
        for name, entry in before.items():
            carried_s = 0.0 if at_once else find_carried(name)
            self._entries[name] = advance(entry, now, carried_s=carried_s, keeps=name in KEPT)
        self.write()
        return self._entries != before

    def forget(self, names: Iterable[str]) -> None:
        """Remove secrets that no longer exist from the ledger."""
        for name in names:
            self._entries.pop(name, None)
        self.write()

    def settle(self, now: float) -> None:
        """Finish every rotation at once. For one machine, when every process runs with the newest values."""
        for name, entry in self._entries.items():
            if entry.step is RotationStep.SETTLED:
                continue
            if entry.step is not RotationStep.FINISH:
                entry = replace(entry, step=RotationStep.FINISH, used=entry.held[-1].slot, since=now)  # noqa: PLW2901
            self._entries[name] = advance(entry, now, carried_s=find_carried(name), keeps=name in KEPT)
        self.write()

    def is_due(self, now: float, *, at_once: bool = False) -> bool:
        """Return whether a rotation could advance now."""
        return any(
            advance(one, now, carried_s=0.0 if at_once else find_carried(name)) != one
            for name, one in self._entries.items()
        )

    def list_steps(self) -> Iterator[tuple[str, RotationStep]]:
        """Yield the name of each secret with the step of its rotation."""
        yield from ((name, one.step) for name, one in self._entries.items())

    def describe(self, now: float) -> Iterator[str]:
        """Yield a line for each rotation under way."""
        for name, entry in sorted(self._entries.items()):
            wait_s = _waits_s(entry, now, find_carried(name))
            match entry.step:
                case RotationStep.ACCEPT:
                    yield f"{name}: servers learn the new value and still accept the former one"
                case RotationStep.USE:
                    yield f"{name}: clients change to the new value; servers still accept the former one"
                case RotationStep.FINISH if wait_s > 0:
                    yield (
                        f"{name}: running tasks{' and sessions' * (name == JWT_KEY)} may still use the former value; "
                        f"an apply in {wait_s / 60:.0f} minutes or later ends it"
                    )
                case RotationStep.FINISH:
                    yield f"{name}: the next apply ends the former value"
                case _:
                    pass


def find_carried(name: str) -> float:
    """Return how many seconds a task, or the session of a user, may use a value of this secret after its start."""
    if name == JWT_KEY:
        return SESSIONS_S
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

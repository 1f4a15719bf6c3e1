"""The secrets of a platform: how old each is, how far its rotation came, and the request for a new value (ADR 30).

To request a rotation is to remove the file of the secret. The ledger has the former value, so a command that is killed
at any moment leaves a request that is made, or one that is not. `airfleet apply`, or `up`, does the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from airfleet.errors import UsageError
from airfleet.workspace import hardening
from airfleet.workspace.credentials import FORMER, INTRODUCED, POOL, list_former_pools
from airfleet.workspace.project import name_password_file
from airfleet.workspace.rotation import RotationLedger, RotationStep
from airfleet.workspace.state_folder import StateFolder, sync_folder

SETTLED, DUE = "settled", "a new value is due"
# Former logins end by themselves, and so do those of pools that left fleet.yaml: while the file of one exists, a worker
# that still drains keeps its login.
NO_VALUE = frozenset({*hardening.NO_SECRETS, *FORMER, *INTRODUCED})
OF_USERS = name_password_file("")


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """One secret: since when it has its value, and how far a rotation came. `age_s` is None if its file is gone."""

    name: str
    age_s: float | None
    state: str

    @property
    def is_of_user(self) -> bool:
        """Return whether it is the password of a person, to whom a new one must be handed over."""
        return self.name.startswith(OF_USERS)


def list_secrets(folder: StateFolder, now: float, *, pools: Iterable[str]) -> Iterator[KeptSecret]:
    """Yield each secret that can have a new value, by name. `pools` are those of fleet.yaml."""
    ledger = RotationLedger(folder.secrets)
    known = dict(ledger.list_steps())
    present = folder.secrets.iterdir() if folder.secrets.is_dir() else ()
    # A name that begins with a dot is of a file that is written at this moment.
    names = {one.name for one in present if one.is_file() and not one.name.startswith(".")}
    former = {f"{POOL}{pool}" for pool in list_former_pools(folder, pools)}
    for name in sorted((names | known.keys()) - NO_VALUE - former):
        path = folder.secrets / name
        step = known.get(name)
        if not path.exists():
            yield KeptSecret(name, None, DUE)
            continue
        state = SETTLED if step in (None, RotationStep.SETTLED) else str(step)
        yield KeptSecret(name, max(0.0, now - path.stat().st_mtime), state)


def list_under_way(folder: StateFolder) -> frozenset[str]:
    """Return the secrets that have their new value already, while servers still accept the former one."""
    return frozenset(name for name, step in RotationLedger(folder.secrets).list_steps() if step != RotationStep.SETTLED)


def request(
    folder: StateFolder,
    names: Iterable[str],
    *,
    now: float,
    pools: Iterable[str],
    kept: Collection[str] = (),
) -> list[str]:
    """Let the next apply, or the next start, make new values of these secrets; return those that were not due before.

    Those of `kept` keep their value.

    Raises:
        UsageError: There is no such secret, or nobody would know its former value. Nothing was changed.
    """
    known = {one.name: one for one in list_secrets(folder, now, pools=pools)}
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in known:
            hint = f"the secrets are: {', '.join(known)}" if known else "airfleet apply, or airfleet up, makes them"
            raise UsageError(f"there is no secret {name!r} that can have a new value", hint=hint)
    if wanted and RotationLedger(folder.secrets).is_missing:
        raise UsageError(
            "the ledger of rotations is missing, and without it nobody knows which values are in use",
            where=str(folder.secrets),
            hint="put rotations.json back from a copy of the state folder",
        )
    due = [name for name in wanted if known[name].age_s is not None and name not in kept]
    for name in due:
        (folder.secrets / name).unlink(missing_ok=True)
    if due:
        sync_folder(folder.secrets)
    return due

"""Patches of Airflow, and how to apply one (ADR 34). Only this module assigns to names of Airflow's code."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from airfleet_provider.compat.patches.requirements import MISSING, Requirement, get, split

log = logging.getLogger("airfleet")

# The attributes of a replacement: the names of all patches of its target, and the original.
NAMES, ORIGINAL = "airfleet_patches", "airfleet_original"


class UnfitAirflowError(RuntimeError):
    """A required patch does not fit the installed Airflow, and Airflow's stock code would do harm."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Replacements of functions of Airflow that belong together.

    `make` gets the originals, in the order of the targets, and the arguments of `apply`. It returns the replacements in
    the same order, and assigns nothing itself.
    """

    name: str
    # Paths as in `requirements.split`.
    targets: tuple[str, ...]
    # Checked in the process before the patch is applied.
    requires: tuple[Requirement, ...]
    make: Callable[..., Sequence[Any]]
    # What is lost without the patch: one sentence for an operator.
    without: str
    # The processes that apply it.
    processes: str
    # Only tests and `airflow airfleet patches` check these: the process does not need the modules that they import.
    assumes: tuple[Requirement, ...] = ()
    # Whether a process must end without the patch, because Airflow's stock code would break a promise of airfleet.
    is_required: bool = False
    # Patches of the same targets that must be applied before this one if a process applies both.
    over: tuple[str, ...] = ()
    # Modules that may have imported a target by name before it was replaced.
    takers: tuple[str, ...] = ()

    def find_obstacle(self) -> str | None:
        """Return why the patch does not fit the installed Airflow, or None if it fits."""
        return _find_obstacle(self.targets, self.requires)

    def find_doubt(self) -> str | None:
        """Return the same as `find_obstacle`, but also check the assumptions."""
        return _find_obstacle(self.targets, (*self.requires, *self.assumes))

    def is_applied(self) -> bool:
        """Return whether the patch is in effect in this process."""
        try:
            return all(self.name in _read_names(_look_up(*split(target))) for target in self.targets)
        except (ImportError, AttributeError):
            return False


def apply(
    patch: Patch,
    *arguments: Any,  # noqa: ANN401 - what the patch's `make` takes after the originals
    tell: Callable[[str], None] | None = None,
    is_checked: bool = False,
) -> str | None:
    """Apply a patch in this process and its later forks, unless it is in effect already.

    Return None, or the reason why it was not applied: then Airflow's own code stays. The reason goes to `tell`, or else
    to the log, once in a process. With `is_checked`, the check is omitted, because the parent process has made it.

    Raises:
        UnfitAirflowError: A required patch does not fit.
        RuntimeError: A patch that must come after this one was applied before it.
    """
    if patch.is_applied():
        return None
    if not is_checked and (obstacle := patch.find_obstacle()):
        loss = f"{patch.without}: {obstacle}"
        if patch.is_required:
            raise UnfitAirflowError(f"Airflow cannot be patched ({patch.name}), and without the patch {loss}")
        (tell or _warn_once)(loss)
        return obstacle
    places = [split(target) for target in patch.targets]
    olds = [_look_up(*place) for place in places]
    for old in olds:
        if above := _read_names(old) - {patch.name, *patch.over}:
            raise RuntimeError(f"the patch {patch.name} is to be applied before {', '.join(sorted(above))}")
    news = patch.make(*(get(*place) for place in places), *arguments)
    for (owner, name), old, new in zip(places, olds, news, strict=True):
        if patch.name not in _read_names(old):
            setattr(new, NAMES, _read_names(old) | {patch.name})
            setattr(new, ORIGINAL, old)
            _assign(owner, name, new)
            for taker in filter(None, map(sys.modules.get, patch.takers)):
                if getattr(taker, name, MISSING) is old:
                    _assign(taker, name, new)
    log.debug("Patch of Airflow applied: %s", patch.name)
    return None


def undo(patch: Patch) -> None:
    """Restore the originals of a patch. No other patch may have been applied to its targets after it."""
    for target in patch.targets:
        owner, name = split(target)
        new = _look_up(owner, name)
        if patch.name in _read_names(new):
            _assign(owner, name, getattr(new, ORIGINAL))


def change_constants(change: Callable[[str], str], modules: Collection[str] | None = None) -> None:
    """Replace the texts that Airflow's modules keep in their names, where `change` returns another text.

    A process that forgets its configuration needs it: modules keep what they read of it when they were imported. A fork
    that looks at all modules copies their memory, so it may name those that matter.
    """
    for name in [one for one in sys.modules if one.partition(".")[0] == "airflow"] if modules is None else modules:
        if module := sys.modules.get(name):
            for key, value in list(vars(module).items()):
                if isinstance(value, str) and (changed := change(value)) != value:
                    _assign(module, key, changed)


def _find_obstacle(targets: Sequence[str], requires: Sequence[Requirement]) -> str | None:
    try:
        for target in targets:
            owner, name = split(target)
            # Airflow declares some names of a module before it assigns them.
            if get(owner, name) is MISSING and name not in getattr(owner, "__annotations__", ()):
                return f"{target} is not there"
        found = (requirement.find_obstacle() for requirement in requires)
        obstacle = next(filter(None, found), None)
    except (ImportError, AttributeError, OSError, TypeError) as error:  # the code has moved, or has no source
        obstacle = f"{type(error).__name__}: {error}"
    if obstacle is None:
        return None
    from airflow.version import version  # noqa: PLC0415 - reading the registry imports no Airflow

    return f"in Airflow {version}, {obstacle}"


def _look_up(owner: Any, name: str) -> Any:  # noqa: ANN401 - any object
    """Return the unbound value of a name in an object, or MISSING."""
    return get(owner, name) if isinstance(owner, dict) else inspect.getattr_static(owner, name, MISSING)


def _read_names(found: Any) -> frozenset[str]:  # noqa: ANN401 - any object
    """Return the patches in effect on a target. A subclass or a copy of a replacement has none."""
    names: frozenset[str] = getattr(found, "__dict__", {}).get(NAMES, frozenset())
    return names


def _assign(owner: Any, name: str, value: Any) -> None:  # noqa: ANN401 - any object
    if isinstance(owner, dict):
        owner[name] = value
    elif value is MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


@functools.cache
def _warn_once(loss: str) -> None:
    log.warning("Airflow is not patched: %s", loss)

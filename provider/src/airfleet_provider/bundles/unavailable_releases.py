"""How long tasks on this host have waited for a release that cannot be fetched, so that they do not wait for ever."""

from __future__ import annotations

import contextlib
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

# Tasks wait PATIENCE_S for a store, a web host or a disk to recover. They wait PATIENCE_REFUSED_S after a refusal: only
# a person, or the end of a secret's rotation, ends a refusal.
PATIENCE_S, PATIENCE_REFUSED_S = 3_600.0, 600.0
FORGOTTEN_S = 7 * 86_400.0
SUFFIX = ".waiting"
PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class UnavailableError(Exception):
    """A host could not fetch a release for so long that its tasks fail."""

    def __init__(self, release: str, minutes: float, cause: Exception) -> None:
        super().__init__(
            f"this host could not fetch the files of {release} for {minutes:.0f} minutes: {describe(cause)}"
        )


def describe(cause: Exception) -> str:
    """Return what went wrong, and what to check."""
    what = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, urllib.error.HTTPError) and cause.code == HTTPStatus.FORBIDDEN:
        return f"{what}: this host and the web hosts have different [api] secret_keys, or their clocks differ"
    if isinstance(cause, OSError) and cause.filename:
        return f"{what}: check the free disk space and the permissions of that folder"
    return what


def choose_patience(cause: Exception) -> float:
    """Return how many seconds tasks wait for the cause to end."""
    if isinstance(cause, urllib.error.HTTPError):
        is_refused = HTTPStatus.BAD_REQUEST <= cause.code < HTTPStatus.INTERNAL_SERVER_ERROR
        return PATIENCE_REFUSED_S if is_refused and cause.code not in PASSING else PATIENCE_S
    return PATIENCE_REFUSED_S if isinstance(cause, (LookupError, PermissionError)) else PATIENCE_S


def measure(versions: Path, release: str, now: float) -> float:
    """Return the seconds since a task of this host first waited for the release; if none has, record `now`.

    Returns infinity if the record cannot be written, because then the wait would never end.
    """
    for place in _places(versions, release):
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                place.touch(exist_ok=False)
            return max(0.0, now - place.stat().st_mtime)
    return float("inf")


def forget(versions: Path, release: str) -> None:
    """Remove the record of a wait, because the release is on this host: the next wait starts at zero."""
    for place in _places(versions, release):
        with contextlib.suppress(OSError):
            place.unlink()


def forget_old(versions: Path, now: float) -> None:
    """Remove the records of waits that began more than `FORGOTTEN_S` ago."""
    for place in versions.glob(f".r*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if now - place.stat().st_mtime > FORGOTTEN_S:
                place.unlink()


def _places(versions: Path, release: str) -> Iterator[Path]:
    yield versions / f".{release}{SUFFIX}"
    yield Path(tempfile.gettempdir()) / f".airfleet.{release}{SUFFIX}"  # used if the disk of the first place is full


def judge(versions: Path, release: str, cause: Exception) -> Exception | None:
    """Return the error with which a task must fail now, or None while it may still wait."""
    seconds = measure(versions, release, time.time())
    return UnavailableError(release, seconds / 60, cause) if seconds > choose_patience(cause) else None

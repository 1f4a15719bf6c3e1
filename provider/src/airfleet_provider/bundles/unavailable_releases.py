"""How long tasks on this host have waited for a release that cannot be fetched, so that they do not wait for ever."""

from __future__ import annotations

import contextlib
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

# A store, a web host or a disk comes back; a refusal needs a person, or ends with the rotation of a secret.
PATIENCE_S, PATIENCE_REFUSED_S = 3_600.0, 600.0
FORGOTTEN_S = 7 * 86_400.0
SUFFIX = ".waiting"
PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class UnavailableError(Exception):
    """A release could not be had for so long that its tasks fail."""

    def __init__(self, release: str, minutes: float, cause: Exception) -> None:
        super().__init__(
            f"the files of {release} could not be had on this host for {minutes:.0f} minutes: {describe(cause)}"
        )


def describe(cause: Exception) -> str:
    """What went wrong, and what to look at."""
    what = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, urllib.error.HTTPError) and cause.code == HTTPStatus.FORBIDDEN:
        return f"{what}: the [api] secret_key of this host is not that of the web hosts, or their clocks differ"
    if isinstance(cause, OSError) and cause.filename:
        return f"{what}: look at the disk and the rights of that folder"
    return what


def choose_patience(cause: Exception) -> float:
    """How many seconds tasks wait for this to pass."""
    if isinstance(cause, urllib.error.HTTPError):
        is_refused = HTTPStatus.BAD_REQUEST <= cause.code < HTTPStatus.INTERNAL_SERVER_ERROR
        return PATIENCE_REFUSED_S if is_refused and cause.code not in PASSING else PATIENCE_S
    return PATIENCE_REFUSED_S if isinstance(cause, (LookupError, PermissionError)) else PATIENCE_S


def measure(versions: Path, release: str, now: float) -> float:
    """The seconds since a task of this host first waited for the release; this wait begins now if it is the first."""
    for place in _places(versions, release):
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                place.touch(exist_ok=False)
            return max(0.0, now - place.stat().st_mtime)
    return float("inf")  # nowhere can be written: nothing would count the time


def forget(versions: Path, release: str) -> None:
    """The release is here: whoever waits for it next begins anew."""
    for place in _places(versions, release):
        with contextlib.suppress(OSError):
            place.unlink()


def forget_old(versions: Path, now: float) -> None:
    """Remove what was written about waits that nobody is in any more."""
    for place in versions.glob(f".r*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if now - place.stat().st_mtime > FORGOTTEN_S:
                place.unlink()


def _places(versions: Path, release: str) -> Iterator[Path]:
    yield versions / f".{release}{SUFFIX}"
    yield Path(tempfile.gettempdir()) / f".airfleet.{release}{SUFFIX}"  # where the disk of the first one is full


def judge(versions: Path, release: str, cause: Exception) -> Exception | None:
    """The error with which a task fails now, or nothing while it may still wait."""
    seconds = measure(versions, release, time.time())
    return UnavailableError(release, seconds / 60, cause) if seconds > choose_patience(cause) else None

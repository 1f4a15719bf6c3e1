"""Which files and folders this process opens, from the audit events of Python."""

from __future__ import annotations

import os
from types import FrameType
from typing import Any, NamedTuple

FOLDER_EVENTS = ("os.listdir", "os.scandir")


class OpenedPath(NamedTuple):
    """One file or folder that Python is about to open, under the name that the code passed."""

    path: str
    is_folder: bool
    is_write: bool


def read_event(event: str, arguments: tuple[Any, ...]) -> OpenedPath | None:
    """Return the access that an audit event reports; None for other events, and for files opened by descriptor."""
    is_folder = event in FOLDER_EVENTS
    if not is_folder and event != "open":
        return None
    target = arguments[0]
    if isinstance(target, os.PathLike):
        target = os.fspath(target)
    if not isinstance(target, str):
        return None
    flags = 0 if is_folder or not isinstance(arguments[2], int) else arguments[2]
    return OpenedPath(target, is_folder, bool(flags & (os.O_WRONLY | os.O_RDWR)))


def is_import_scan(frame: FrameType) -> bool:
    """Return whether the frame belongs to the import system, which lists folders to find modules."""
    return frame.f_code.co_name == "_fill_cache"

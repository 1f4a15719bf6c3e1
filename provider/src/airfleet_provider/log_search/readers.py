"""Where the index of this platform is: in a folder of this machine, or in the log stores of a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from airfleet_provider.compat.calls import config
from airfleet_provider.contract import log_store_config

if TYPE_CHECKING:
    from airfleet_provider.log_index.store import LogReader


def is_there() -> bool:
    """Return whether the settings of this process name an index."""
    return bool(_read("log_index") or _read(log_store_config.STORES))


def open_reader() -> LogReader | None:
    """Return what reads the index, or None if there is none yet. It connects to nothing before it is asked."""
    if urls := _read(log_store_config.STORES).split():
        from airfleet_provider.log_index.remote import Proof, RemoteLogReader  # noqa: PLC0415 - few processes search

        token = log_store_config.derive_search_token(config.read_setting("api_auth", "jwt_secret"))
        return RemoteLogReader(urls, Proof(Path(_read(log_store_config.AUTHORITIES))), token)
    folder = _read("log_index")
    if not folder or not Path(folder).is_dir():
        return None
    from airfleet_provider.log_index.day_indexes import DayIndexReader  # noqa: PLC0415 - it is 10 MB

    return DayIndexReader(Path(folder))


def _read(key: str) -> str:
    return config.read_setting("airfleet", key)

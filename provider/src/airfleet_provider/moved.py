"""The name under which releases on disk ask for `bundles.moved_dags`.

Every version of airfleet writes `from airfleet_provider import moved` into each release that it unpacks, and those
releases outlast an upgrade of airfleet, also in a folder that hosts of two versions share. So this name stays.
"""

from __future__ import annotations

from airfleet_provider.bundles.moved_dags import load

__all__ = ["load"]

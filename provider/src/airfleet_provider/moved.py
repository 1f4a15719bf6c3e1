"""The name under which releases on disk import `bundles.moved_dags`.

Every version of airfleet writes `from airfleet_provider import moved` into each release that it unpacks. These releases
outlast an upgrade of airfleet, and hosts of two versions may share a folder of releases. So this name must stay.
"""

from __future__ import annotations

from airfleet_provider.bundles.moved_dags import load

__all__ = ["load"]

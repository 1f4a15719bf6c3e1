"""Let Patroni forget how far its database hosts had come. Patroni's own Python runs this text, with its modules."""

from __future__ import annotations

import sys


def main(path: str) -> None:
    """Remove what is known of a primary and of the past; the settings and the identity of the data stay."""
    # Only the Python of a database host has them.
    from patroni.config import Config  # type: ignore[import-not-found]  # noqa: PLC0415
    from patroni.dcs import get_dcs  # type: ignore[import-not-found]  # noqa: PLC0415

    store = get_dcs(Config(path))
    for key in (
        *(store.leader_path, store.sync_path, store.status_path, store.leader_optime_path),
        *(store.history_path, store.failover_path, store.failsafe_path),
    ):
        store._client.deleterange(key)


if __name__ == "__main__":
    main(*sys.argv[1:])

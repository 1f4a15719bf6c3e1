"""Keeps the live Dags in Airflow's tables although no process parses their files again.

`airflow db clean` removes Dags and import errors that were not parsed for long. Airflow's own Dag processor parses
every file every 30 s and so writes removed rows back. The releaser parses a file once. It therefore renews the
parse times of the live Dags once an hour, and publishes missing Dags again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airfleet_provider.database import run

EVERY_S = 60.0
# Skips rows that another transaction has locked; the next call updates them.
REFRESH_DAGS = """
UPDATE dag SET last_parsed_time = now() WHERE dag_id IN (
    SELECT dag_id FROM dag
    WHERE bundle_name = %(bundle)s AND NOT is_stale AND last_parsed_time < now() - interval '1 hour'
    FOR NO KEY UPDATE SKIP LOCKED
)
"""
REFRESH_ERRORS = """
UPDATE import_error SET timestamp = now() WHERE id IN (
    SELECT id FROM import_error WHERE bundle_name = %(bundle)s AND timestamp < now() - interval '1 hour'
    FOR NO KEY UPDATE SKIP LOCKED
)
"""
# A Dag that belongs to another bundle by now is not missing.
LIST_MISSING = """
SELECT n.dag_id FROM unnest(%(dags)s::text[]) AS n(dag_id)
WHERE NOT EXISTS (SELECT FROM dag d WHERE d.dag_id = n.dag_id AND (d.bundle_name <> %(bundle)s OR NOT d.is_stale))
    OR NOT EXISTS (
        SELECT FROM dag_version v JOIN serialized_dag s ON s.dag_version_id = v.id WHERE v.dag_id = n.dag_id
    )
ORDER BY 1
"""
LIST_LIVE = """
SELECT jsonb_object_keys(r.dags) FROM airfleet.pointer p JOIN airfleet.release r ON r.id = p.live
WHERE p.bundle = %(bundle)s
"""


def refresh(session: Any, bundle: str) -> int:  # noqa: ANN401 - sqlalchemy.orm.Session
    """Renew parse times older than an hour of a bundle's live Dags and import errors; return the number of Dags."""
    run(session, REFRESH_ERRORS, bundle=bundle)
    return int(run(session, REFRESH_DAGS, bundle=bundle).rowcount)


def list_live(session: Any, bundle: str) -> list[str]:  # noqa: ANN401 - sqlalchemy.orm.Session
    """Return the ids of the Dags of a bundle's live release."""
    return list(run(session, LIST_LIVE, bundle=bundle).scalars())


def list_missing(session: Any, bundle: str, dags: Collection[str]) -> list[str]:  # noqa: ANN401 - as above
    """Return those of the Dags of a bundle that Airflow's tables lack or mark as stale."""
    return list(run(session, LIST_MISSING, bundle=bundle, dags=list(dags)).scalars())

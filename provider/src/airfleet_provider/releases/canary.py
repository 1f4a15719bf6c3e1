"""Watches a release that went live: counts how its tasks end, and requests a rollback if the release is worse."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import release_archive
from airfleet_provider.contract.release_policy import Policy
from airfleet_provider.contract.release_schema import AUTOMATIC_ACTOR, DeploymentState
from airfleet_provider.contract.text import one_line
from airfleet_provider.database import run
from airfleet_provider.releases import canary_rules
from airfleet_provider.releases.canary_rules import Action, Evidence, TaskCounts, Verdict

log = logging.getLogger(__name__)

EVERY_S = 2.0
# How many Dag runs back the release before is judged: bounds the cost of a check on a database of any size.
BASELINE_RUNS = 5_000

WATCHED = """
SELECT d.id, d.bundle, d.release, d.detail,
    COALESCE(p.live = d.release AND p.moved_at = d.live_at AND b.version = d.release, false) AS is_live,
    extract(epoch FROM d.watch_until - clock_timestamp())::float AS remaining_s
FROM airfleet.deployment d
LEFT JOIN airfleet.pointer p ON p.bundle = d.bundle
LEFT JOIN dag_bundle b ON b.name = d.bundle
WHERE d.state = 'watching' ORDER BY d.id
"""
LIST_BROKEN = "SELECT filename FROM import_error WHERE bundle_name = %(bundle)s ORDER BY filename"
COUNT_ORPHANS = """
SELECT d.dag_id, count(*) AS runs FROM dag d JOIN dag_run r ON r.dag_id = d.dag_id
WHERE d.dag_id = ANY(%(gone)s::text[]) AND d.is_stale AND r.state IN ('queued', 'running') GROUP BY 1
"""
# The history holds attempts that failed and were retried, and attempts that were cleared.
COUNT_ENDS = """
WITH run AS MATERIALIZED (
    SELECT dag_id, run_id FROM dag_run
    WHERE id > %(after)s AND bundle_version = %(release)s
), try AS (
    SELECT t.dag_id, t.state FROM run JOIN task_instance t USING (dag_id, run_id)
    UNION ALL SELECT t.dag_id, t.state FROM run JOIN task_instance_history t USING (dag_id, run_id)
)
SELECT dag_id, count(*) AS ended, count(*) FILTER (WHERE state = 'failed') AS failed
FROM try WHERE state IN ('success', 'failed') GROUP BY 1
"""
LAST_RUN = "SELECT COALESCE(max(id), 0) FROM dag_run"
END = """
UPDATE airfleet.deployment SET state = %(state)s, finished_at = now(), verdict = %(sentence)s
WHERE id = %(id)s AND state = 'watching'
"""
ASK_BACK = """
INSERT INTO airfleet.deployment (bundle, release, action, actor, reason, detail)
VALUES (%(bundle)s, %(release)s, 'rollback', %(actor)s, %(reason)s, %(detail)s)
"""


def step() -> bool:
    """Judge every watched release; return whether a release is still watched."""
    with metadata_db.open_session() as session:
        watched = list(run(session, WATCHED))
    return [_judge(row).action for row in watched].count(Action.WAIT) > 0


def _judge(row: Any) -> Verdict:  # noqa: ANN401 - a row of WATCHED
    policy = Policy.read(row.detail.get("policy", {}))
    with metadata_db.open_session() as session:
        found = canary_rules.decide(_look(session, row, policy), policy)
        if found.action is Action.WAIT:
            return found
        # One transaction ends the watch and requests the rollback: neither exists without the other.
        state = DeploymentState.FAILED if found.action is Action.ROLL_BACK else DeploymentState.DONE
        ended = run(session, END, id=row.id, state=state, sentence=found.sentence)
        if ended.rowcount and found.action is Action.ROLL_BACK:
            run(
                session,
                ASK_BACK,
                bundle=row.bundle,
                release=row.detail["previous"],
                actor=AUTOMATIC_ACTOR,
                reason=found.sentence,
                detail=json.dumps({"undo": row.id}),
            )
    log.log(
        logging.WARNING if found.action is Action.ROLL_BACK else logging.INFO,
        "%s of %s: %s",
        release_archive.shorten(row.release),
        row.bundle,
        one_line(found.sentence, 2000),
    )
    return found


def _look(session: Any, row: Any, policy: Policy) -> Evidence:  # noqa: ANN401 - SQLAlchemy's session and row
    detail: Mapping[str, Any] = row.detail
    if not row.is_live:
        return Evidence(detail["previous"], is_live=False, remaining_s=row.remaining_s)
    known = set(detail.get("broken_before", ()))
    after = int(detail.get("last_run", 0))
    now = _count(session, row.release, after)
    is_suspect = canary_rules.has_grounds(now, policy)
    return Evidence(
        previous=detail["previous"],
        is_live=True,
        remaining_s=row.remaining_s,
        broken=tuple(name for name in list_broken(session, row.bundle) if name not in known),
        orphans={one.dag_id: one.runs for one in run(session, COUNT_ORPHANS, gone=detail.get("gone", []))},
        now=now,
        before=_count(session, detail["previous"], after - BASELINE_RUNS) if is_suspect else {},
    )


def _count(session: Any, release: str, after: int) -> dict[str, TaskCounts]:  # noqa: ANN401 - SQLAlchemy's session
    rows = run(session, COUNT_ENDS, release=release, after=after)
    return {row.dag_id: TaskCounts(row.ended, row.failed) for row in rows}


def list_broken(session: Any, bundle: str) -> list[str]:  # noqa: ANN401 - SQLAlchemy's session
    """Return the files of a bundle for which Airflow has an import error now."""
    return [name for (name,) in run(session, LIST_BROKEN, bundle=bundle)]


def find_last_run(session: Any) -> int:  # noqa: ANN401 - SQLAlchemy's session
    """Return the highest id of all Dag runs, or 0."""
    return int(run(session, LAST_RUN).scalar())

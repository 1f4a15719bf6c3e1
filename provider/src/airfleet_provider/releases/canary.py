"""Watches a release that went live: counts how its tasks end, and requests a rollback if the release is worse."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import release_archive
from airfleet_provider.contract.release_policy import WatchPolicy
from airfleet_provider.contract.release_schema import AUTOMATIC_ACTOR, DeploymentState
from airfleet_provider.contract.statements import Statements
from airfleet_provider.contract.text import one_line
from airfleet_provider.database import run
from airfleet_provider.releases import canary_rules
from airfleet_provider.releases.canary_rules import Evidence, TaskCounts, WatchAction, WatchVerdict

SQL = Statements(__package__, "canary")

log = logging.getLogger(__name__)

EVERY_S = 2.0
# How many Dag runs back the release before is judged: bounds the cost of a check on a database of any size.
BASELINE_RUNS = 5_000


def step() -> bool:
    """Judge every watched release; return whether a release is still watched."""
    with metadata_db.open_session() as session:
        watched = list(run(session, SQL["watched"]))
    return [_judge(row).action for row in watched].count(WatchAction.WAIT) > 0


def _judge(row: Any) -> WatchVerdict:  # noqa: ANN401 - a row of SQL["watched"]
    policy = WatchPolicy.read(row.detail.get("policy", {}))
    with metadata_db.open_session() as session:
        found = canary_rules.decide(_look(session, row, policy), policy)
        if found.action is WatchAction.WAIT:
            return found
        # One transaction ends the watch and requests the rollback: neither exists without the other.
        state = DeploymentState.FAILED if found.action is WatchAction.ROLL_BACK else DeploymentState.DONE
        ended = run(session, SQL["end"], id=row.id, state=state, sentence=found.sentence)
        if ended.rowcount and found.action is WatchAction.ROLL_BACK:
            run(
                session,
                SQL["ask_back"],
                bundle=row.bundle,
                release=row.detail["previous"],
                actor=AUTOMATIC_ACTOR,
                reason=found.sentence,
                detail=json.dumps({"undo": row.id}),
            )
    log.log(
        logging.WARNING if found.action is WatchAction.ROLL_BACK else logging.INFO,
        "%s of %s: %s",
        release_archive.shorten(row.release),
        row.bundle,
        one_line(found.sentence, 2000),
    )
    return found


def _look(session: Any, row: Any, policy: WatchPolicy) -> Evidence:  # noqa: ANN401 - SQLAlchemy's session and row
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
        orphans={one.dag_id: one.runs for one in run(session, SQL["count_orphans"], gone=detail.get("gone", []))},
        now=now,
        before=_count(session, detail["previous"], after - BASELINE_RUNS) if is_suspect else {},
    )


def _count(session: Any, release: str, after: int) -> dict[str, TaskCounts]:  # noqa: ANN401 - SQLAlchemy's session
    rows = run(session, SQL["count_ends"], release=release, after=after)
    return {row.dag_id: TaskCounts(row.ended, row.failed) for row in rows}


def list_broken(session: Any, bundle: str) -> list[str]:  # noqa: ANN401 - SQLAlchemy's session
    """Return the files of a bundle for which Airflow has an import error now."""
    return [name for (name,) in run(session, SQL["list_broken"], bundle=bundle)]


def find_last_run(session: Any) -> int:  # noqa: ANN401 - SQLAlchemy's session
    """Return the highest id of all Dag runs, or 0."""
    return int(run(session, SQL["last_run"]).scalar())

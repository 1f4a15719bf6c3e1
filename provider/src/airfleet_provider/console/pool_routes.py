"""The routes of the page Hosts and pools: set the slots of a pool, drain and resume workers."""

from __future__ import annotations

import json
from collections.abc import Iterable

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import BaseModel, Field, model_validator

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.console import views
from airfleet_provider.console.desk import (
    ACTIVITY,
    LONGEST_ID,
    OPERATE,
    Desk,
    Given,
    Own,
    User,
    answer,
    record,
    require,
    require_json,
)
from airfleet_provider.console.rights import Rights
from airfleet_provider.contract import slot_list
from airfleet_provider.contract.slot_list import ScalingPool, ScalingWorker

router = APIRouter(dependencies=[Depends(require_json)])
Chosen = list[tuple[str, ScalingWorker]]


class ScaleBody(BaseModel):
    """How many slots a pool has from now on, and why. Without `slots` the pool scales by itself again."""

    slots: int | None = Field(default=None, ge=1, le=1_000_000)
    reason: str = Field(min_length=1, max_length=1000)


class DrainBody(BaseModel):
    """Which workers: those of a host, those of a pool, or with both the worker of the pool on the host; and why."""

    pool: str | None = Field(default=None, min_length=1, max_length=LONGEST_ID)
    host: str | None = Field(default=None, min_length=1, max_length=LONGEST_ID + 100)
    reason: str = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def name_workers(self) -> DrainBody:
        if self.pool is None and self.host is None:
            raise ValueError("name a pool, a host, or both")
        return self


@router.get("/pools")
def show_pools(request: Request, desk: Own, rights: Given) -> Response:
    """Return the pools of workers, slot pools, queues, hosts and the tasks that run longest."""
    require(rights.sees_platform, ACTIVITY)
    return answer(request, views.show_pools(rights, desk.readings.read_activity(), desk.readings.read_pools() or ()))


@router.post("/pools/{pool}/scale")
def scale(pool: str, body: ScaleBody, desk: Own, rights: Given, user: User) -> Response:
    """Set the slots of a pool of workers. A refused try is audited too."""
    found = next((one for one in _read_pools(desk, rights) if one.name == pool), None)
    status, problem = _judge_scale(body, rights, found)
    with desk.session() as session:
        if status == 200:
            # This writes the line of the audit log too, as `airfleet workers scale` does.
            query = metadata_db.query_in(session)
            slot_list.scale(query, pool, body.slots, actor=rights.name, reason=body.reason)
        else:
            extra = {"pool": pool[:LONGEST_ID], "slots": body.slots or "auto", "reason": body.reason, "status": status}
            record(session, user, "airfleet_scale_pool", extra)
    if status != 200:
        raise HTTPException(status, problem)
    desk.readings.forget("pools")
    return Response(json.dumps({"pool": pool, "slots": body.slots}), media_type="application/json")


@router.post("/workers/drain")
def drain(body: DrainBody, desk: Own, rights: Given, user: User) -> Response:
    """Let workers take no more tasks; those that run go on to their end. A refused try is audited too."""
    return _turn(body, desk, rights, user, drained=True)


@router.post("/workers/resume")
def resume(body: DrainBody, desk: Own, rights: Given, user: User) -> Response:
    """Let workers take tasks again. A refused try is audited too."""
    return _turn(body, desk, rights, user, drained=False)


def _turn(body: DrainBody, desk: Desk, rights: Rights, user: User, *, drained: bool) -> Response:
    chosen = _choose(_read_pools(desk, rights), body)
    status, problem = _judge_drain(rights, chosen, drained=drained)
    names = [f"{pool}@{worker.host}" for pool, worker in chosen]
    with desk.session() as session:
        if status == 200:
            # This writes the line of the audit log too.
            workers = [(pool, worker.host) for pool, worker in chosen]
            query = metadata_db.query_in(session)
            slot_list.drain(query, workers, actor=rights.name, reason=body.reason, drained=drained)
        else:
            extra = {"pool": body.pool, "host": body.host, "reason": body.reason, "status": status}
            record(session, user, "airfleet_drain_worker" if drained else "airfleet_resume_worker", extra)
    if status != 200:
        raise HTTPException(status, problem)
    desk.readings.forget("pools")
    return Response(json.dumps({"workers": names}), media_type="application/json")


def _read_pools(desk: Desk, rights: Rights) -> tuple[ScalingPool, ...]:
    return (desk.readings.read_pools() or ()) if rights.sees_platform else ()


def _choose(pools: Iterable[ScalingPool], body: DrainBody) -> Chosen:
    return [
        (pool.name, worker)
        for pool in pools
        for worker in pool.workers
        if body.pool in (None, pool.name) and body.host in (None, worker.host)
    ]


def _judge_rights(rights: Rights) -> tuple[int, str]:
    if rights.operates and rights.sees_platform:
        return 200, ""
    return 403, f"you need the right {OPERATE if rights.sees_platform else ACTIVITY}"


def _judge_scale(body: ScaleBody, rights: Rights, pool: ScalingPool | None) -> tuple[int, str]:
    """Return the status of a change of a pool's slots, and why it is refused."""
    status, problem = _judge_rights(rights)
    if status != 200:
        return status, problem
    if pool is None:
        return 404, "no pool with this name scales"
    if body.slots is None:
        return 200, ""
    if pool.fewest is None or pool.highest is None:
        return 409, "the agents have not decided about this pool yet; try again in some seconds"
    if not pool.fewest <= body.slots <= pool.highest:
        return 422, f"the pool can have from {pool.fewest} to {pool.highest} slots, not {body.slots}"
    return 200, ""


def _judge_drain(rights: Rights, chosen: Chosen, *, drained: bool) -> tuple[int, str]:
    """Return the status of a drain or its end, and why it is refused."""
    status, problem = _judge_rights(rights)
    if status != 200:
        return status, problem
    if not chosen:
        return 404, "no worker with this name reports"
    if not drained and not any(worker.drain for _, worker in chosen):
        marked = " ".join(f"{pool}@{worker.host}" for pool, worker in chosen if worker.marked)
        return 409, f"a command has drained it: `airfleet workers resume {marked}`" if marked else "it is not drained"
    return 200, ""

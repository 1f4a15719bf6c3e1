"""The rules of pools for the agents: those that scale and the others; and the URL at which a worker reports."""

from __future__ import annotations

from airfleet.components import worker
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import WorkerPool
from airfleet_provider.contract.slot_rules import PATH, FixedPool, SlotRule

ONE_HOST = "localhost"


def list_rules(fleet: Fleet) -> tuple[SlotRule, ...]:
    """Return the rule of each pool that scales. One machine has the pool `default`, with `parallelism` slots."""
    if fleet.hosts:
        workers = fleet.with_role("worker")
        return tuple(
            rule
            for pool in fleet.pools
            if (rule := make_rule(pool, tuple(one.name for one in workers if pool.name in one.pools)))
        )
    pool = find_local_pool(fleet)
    rule = make_rule(pool, (ONE_HOST,), worker.list_queues(fleet), fleet.parallelism) if pool else None
    return (rule,) if rule and fleet.executor == "celery" else ()


def list_fixed(fleet: Fleet) -> tuple[FixedPool, ...]:
    """Return the pools that have all their slots always: those without a rule. Their workers report, too."""
    scaling = {rule.pool for rule in list_rules(fleet)}
    if not fleet.hosts:
        is_fixed = fleet.executor == "celery" and worker.POOL not in scaling
        return (FixedPool(worker.POOL, (ONE_HOST,), fleet.parallelism),) if is_fixed else ()
    workers = fleet.with_role("worker")
    found = (
        FixedPool(pool.name, tuple(one.name for one in workers if pool.name in one.pools), pool.concurrency)
        for pool in fleet.pools
        if pool.name not in scaling
    )
    return tuple(one for one in found if one.hosts)


def find_local_pool(fleet: Fleet) -> WorkerPool | None:
    """Return the pool of one machine, if fleet.yaml has it."""
    return next((pool for pool in fleet.pools if pool.name == worker.POOL), None)


def make_rule(
    pool: WorkerPool, hosts: tuple[str, ...], queues: tuple[str, ...] | None = None, per_host: int | None = None
) -> SlotRule | None:
    """Return the rule of a pool on these hosts; None if it does not scale, or if no host serves it."""
    if pool.scale is None or not hosts:
        return None
    scale = pool.scale
    return SlotRule(
        pool=pool.name,
        queues=pool.queues if queues is None else queues,
        hosts=hosts,
        per_host=pool.concurrency if per_host is None else per_host,
        least=scale.least,
        most=scale.most,
        calm_s=scale.calm_s,
        zone=scale.zone,
        hours=scale.hours,
        # With one host there is no other one to be empty.
        pack=scale.pack and len(hosts) > 1,
        ahead_s=scale.ahead_s,
    )


def find_url(base: str, pool: str, host: str) -> str:
    """Return the URL at which the worker of a pool on a host reports. `base` leads to an api-server."""
    return f"{base}{PATH}/{pool}/{host}"

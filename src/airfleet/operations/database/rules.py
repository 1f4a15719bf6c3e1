"""Which database host may take over, and whether each one is well. Pure rules over what Patroni said."""

from __future__ import annotations

from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.fleet.transport.database_cluster import DatabaseCluster, Member

# A replica that is so far behind does not follow in any useful sense; the primary keeps 1 GiB of WAL for it.
LAG_BYTES = 64 << 20
# More than any lag.
UNKNOWN = 1 << 62


def choose(cluster: DatabaseCluster, *, to: str | None, lost: bool, synchronous: bool) -> Member:
    """The host that takes over from the primary; raises AirfleetError where that may lose what was confirmed.

    `lost` says that losses are accepted.
    """
    leader = cluster.leader
    names = [one.name for one in cluster.members]
    if to is not None and to not in names:
        raise UsageError(f"{to} is not a database host", hint=f"one of {', '.join(names)}")
    if leader and to == leader.name:
        raise UsageError(f"{to} is already the primary")
    replicas = [one for one in cluster.members if not one.is_leader and one.is_running]
    candidates = [one for one in replicas if to in (None, one.name)]
    if not candidates:
        what = f"PostgreSQL of {to} does not run" if to else "no replica runs"
        raise AirfleetError(what, where=to or (leader.name if leader else ""), hint="airfleet status shows why")
    chosen = max(candidates, key=_rank)
    losses = _describe_losses(chosen, leader, synchronous=synchronous)
    if losses and not lost:
        raise AirfleetError(
            f"{chosen.name} may lack confirmed data: {losses}",
            where=chosen.name,
            hint="wait until it has caught up (airfleet status), or add --lost to continue without the data",
        )
    return chosen


def _rank(member: Member) -> tuple[bool, int, int]:
    """A named standby first, then the timeline, then whoever is the least behind."""
    return member.is_standby, member.timeline or 0, -(UNKNOWN if member.lag is None else member.lag)


def _describe_losses(chosen: Member, leader: Member | None, *, synchronous: bool) -> str:
    if leader is None:
        return "no host takes writes, and Patroni has promoted none by itself"
    if synchronous and not chosen.is_standby:
        return "it is not the standby that commits wait for"
    if chosen.lag is None or chosen.lag > LAG_BYTES:
        return f"it is {describe_lag(chosen.lag)} behind {leader.name}"
    return ""


def describe_lag(lag: int | None) -> str:
    """How far a replica is behind."""
    if lag is None:
        return "an unknown amount"
    return f"{lag / (1 << 20):.1f} MiB" if lag >= 1 << 20 else f"{lag} bytes"


def judge(cluster: DatabaseCluster, wanted: tuple[str, ...], *, synchronous: bool) -> list[tuple[str, bool, str]]:
    """For each database host its name, whether it does what it should, and what it does."""
    leader, found = cluster.leader, []
    for name in wanted:
        one = cluster.find(name)
        if one is None:
            found.append((name, False, "Patroni there has not reported for some time"))
        elif one.is_leader:
            found.append((name, one.is_running, f"primary, {_describe(one)}"))
        elif leader is None:
            found.append((name, False, f"replica, {_describe(one)}; no host takes writes"))
        else:
            kind = "synchronous standby" if one.is_standby else "replica"
            is_near = one.lag is not None and one.lag <= LAG_BYTES
            detail = f"{kind}, {_describe(one)}, {describe_lag(one.lag)} behind {leader.name}"
            found.append((name, one.is_running and is_near and one.timeline == leader.timeline, detail))
    if synchronous and leader and not any(one.is_standby for one in cluster.members):
        found.append(
            (leader.name, False, "commits wait for no standby, as none follows: a loss of this host loses data")
        )
    return found


def _describe(one: Member) -> str:
    timeline = f"timeline {one.timeline}" if one.timeline else "timeline unknown"
    return f"{one.state}, {timeline}"

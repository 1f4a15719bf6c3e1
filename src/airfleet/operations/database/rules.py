"""Rules for the choice of the next primary, and for the health of replicas. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.database.observation import DatabaseHost

# Bytes by which a healthy replica may be behind. The primary keeps 1 GiB of WAL for its replicas.
LAG_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Choice:
    """The host that becomes the primary.

    `is_done` means that it accepts writes already. `losses` describe the data that is lost by this choice. If
    `gives_up` is set, the promotion of that host is given up, and the target stays the primary.
    """

    target: str
    is_done: bool = False
    losses: tuple[str, ...] = ()
    gives_up: str = ""


def choose(
    hosts: Mapping[str, DatabaseHost], *, primary: str, begun: str, to: str | None, lost: bool, synchronous: bool
) -> Choice:
    """Choose the host to promote.

    `begun` is the target of an interrupted promotion, or "". `lost` means that losses are accepted.

    Raises:
        AirfleetError: The choice may lose confirmed data, or make a second primary.
        UsageError: `to` names no database host, or the primary.
    """
    if to is not None and to not in hosts:
        raise UsageError(f"{to} is not a database host", hint=f"one of {', '.join(hosts)}")
    if begun == primary:
        # The target was promoted and recorded. Only the wait for a scheduler is left.
        if to in (None, primary) and hosts[primary].condition == "primary":
            return Choice(primary, is_done=True)
        begun = ""
    _check_begun(hosts, begun, to, primary, lost=lost)
    writers = [one.name for one in hosts.values() if one.condition == "primary" and one.name != primary]
    if writers:
        if not begun and hosts[primary].condition == "primary":
            writers.append(primary)
        return _go_on(writers, begun, to)
    if to == primary and begun:
        return Choice(primary, gives_up=begun)
    if to == primary:
        raise UsageError(f"{to} is already the primary")
    replicas = [one for one in hosts.values() if one.condition == "replica" and one.name != primary]
    wanted = to or begun
    candidates = [one for one in replicas if wanted in ("", one.name)]
    if not candidates:
        what = f"{wanted} is not a replica that answers" if wanted else "no replica answers"
        raise AirfleetError(what, where=wanted or primary, hint="start PostgreSQL there; `airfleet status` shows why")
    chosen = max(candidates, key=lambda one: one.reach)
    losses = tuple(_list_losses(hosts, chosen, primary, synchronous=synchronous))
    if losses and not lost:
        raise AirfleetError(
            f"{chosen.name} may lack confirmed data: {'; '.join(losses)}",
            where=chosen.name,
            hint="fix that first; or turn off hosts that do not answer, and add --lost to continue without that data",
        )
    return Choice(chosen.name, losses=losses)


def _check_begun(hosts: Mapping[str, DatabaseHost], begun: str, to: str | None, primary: str, *, lost: bool) -> None:
    """Check that an interrupted promotion is finished with the same host, which may accept writes, or given up.

    Raises:
        AirfleetError: `to` names a third host, or the target does not answer and `lost` is not set.
    """
    if not begun or begun not in hosts:
        return
    is_away = hosts[begun].condition == "away"
    is_given_up = to == primary and hosts[begun].condition == "replica"
    if to not in (None, begun) and not is_given_up and not (is_away and lost):
        raise AirfleetError(
            f"the promotion of {begun} was started and is not finished",
            where=begun,
            hint=f"airfleet failover --database --to {begun}; if it is gone for good, turn it off and add --lost",
        )
    if is_away and to in (None, begun):
        raise AirfleetError(
            f"the promotion of {begun} was started, and {begun} does not answer: it may accept writes",
            where=begun,
            hint="bring it back; if it is gone for good, turn it off and name another host with --to and --lost",
        )


def _go_on(writers: list[str], begun: str, to: str | None) -> Choice:
    """Choose when another host than the recorded primary accepts writes: an earlier run was interrupted."""
    if len(writers) > 1:
        raise AirfleetError(
            f"{' and '.join(writers)} accept writes; airfleet promotes no host while two do",
            where=writers[0],
            hint="stop airfleet-postgresql on the host whose data you give up",
        )
    (writer,) = writers
    if writer not in (begun, to):
        raise AirfleetError(
            f"{writer} already accepts writes; airfleet promotes no other host beside it",
            where=writer,
            hint=f"airfleet failover --database --to {writer} makes it the primary of this fleet",
        )
    if to not in (None, writer):
        raise AirfleetError(f"{writer} already accepts writes; {to} would be a second primary", where=writer)
    return Choice(writer, is_done=True)


def _list_losses(
    hosts: Mapping[str, DatabaseHost], chosen: DatabaseHost, primary: str, *, synchronous: bool
) -> list[str]:
    """Describe the data that the chosen host may lack, as far as it is known before the primary stops."""
    found = []
    others = [one for one in hosts.values() if one.name not in (chosen.name, primary)]
    for one in others:
        if one.condition == "away":
            found.append(f"the position of {one.name} is unknown because it does not answer")
        elif one.reach > chosen.reach:
            found.append(f"{one.name} has {describe_lag(chosen, one)} more")
    former = hosts[primary]
    if former.condition == "away" and not synchronous:
        found.append(f"{primary} does not answer; with asynchronous replication only it may have the latest changes")
    elif former.crashed and not synchronous:
        found.append(
            f"PostgreSQL on {primary} crashed; with asynchronous replication only it may have the latest changes"
        )
    elif former.condition == "away":
        # The primary may be cut off from this machine only. Then a replica that it still reaches lets it confirm.
        found += [f"{one.name} may still follow {primary}, which does not answer" for one in others if one.follows]
    elif former.timeline > chosen.timeline or former.position - chosen.position > LAG_BYTES:
        found.append(f"{primary} has {describe_lag(chosen, former)} more")
    elif former.condition == "primary" and not chosen.follows:
        found.append(f"{chosen.name} does not follow {primary}")
    return found


def describe_lag(behind: DatabaseHost, ahead: DatabaseHost) -> str:
    """Describe how much WAL one host lacks compared to the other."""
    if behind.timeline < ahead.timeline:
        return f"a later timeline ({ahead.timeline}, not {behind.timeline})"
    missing = max(0, ahead.position - behind.position)
    return f"{missing / (1 << 20):.1f} MiB" if missing >= 1 << 20 else f"{missing} bytes"


def judge_replicas(hosts: Mapping[str, DatabaseHost], primary: str) -> list[tuple[str, bool, str]]:
    """Return for each replica its name, whether it follows the primary, and a detail with its lag."""
    found = []
    for one in hosts.values():
        if one.name == primary or one.condition == "away":
            continue
        if one.condition != "replica":
            found.append((one.name, False, f"it is not a replica: PostgreSQL there is {one.condition}"))
            continue
        former = hosts.get(primary)
        lag = describe_lag(one, former) if former and former.condition == "primary" else "an unknown amount"
        is_near = former is None or (one.timeline >= former.timeline and former.position - one.position <= LAG_BYTES)
        follows = "follows" if one.follows else "does not follow"
        found.append((one.name, one.follows and is_near, f"{follows} {primary}, {lag} behind"))
    return found

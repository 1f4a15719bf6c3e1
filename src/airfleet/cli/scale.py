"""`airfleet scale …`: why a pool has the slots that it has, and what other limits would have cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from airfleet.cli import options, scale_machines

if TYPE_CHECKING:
    from airfleet.operations.slots import PastDecision, PoolSlots
    from airfleet_provider.contract.slot_simulation import SimulationOutcome

# The functions import what they need, as `--help` needs none of it.
# ruff: noqa: PLC0415

NO_POOL = "no pool scales: give one `scale: {}` under `pools` in fleet.yaml, where Celery runs the tasks"


@click.group("scale", short_help="Why a pool has its slots; machines that come and go.")
def command() -> None:
    """Explain the slots of the pools that have `scale` in fleet.yaml, and try other limits on past tasks.

    `machines` makes and destroys machines as these pools need them.

    \b
    Example:
      airfleet scale explain cpu
      airfleet scale hosts
      airfleet scale machines
      airfleet scale simulate cpu --days 30 --min 4
    """


command.add_command(scale_machines.command)


@command.command("explain")
@click.argument("pool", required=False)
@options.project_option
@options.state
@click.option("--last", type=click.IntRange(1, 1000), default=10, show_default=True, help="Decisions to show.")
@options.as_json
def explain_command(pool: str | None, project: Path, state: Path | None, last: int, as_json: bool) -> None:
    """Show the slots of each pool and worker now, and the last decisions with what they depended on.

    Each decision is made again from the inputs that were stored with it; a difference is shown. Without POOL, the
    machines that come and go follow, with why each began its phase.

    \b
    Example:
      airfleet scale explain cpu --last 3
      airfleet scale explain --json
    """
    from airfleet.operations.slots import open_slots

    with open_slots(project, state) as slots:
        if pool is not None:
            slots.find_rule(pool)
        pools = [one for one in slots.list_pools() if pool in (None, one.rule.pool)]
        decisions = slots.list_decisions(pool, limit=last)
    if as_json:
        click.echo(json.dumps(_to_json(pools, decisions), indent=2, default=str))
        return
    if not pools:
        click.echo(NO_POOL, err=True)
    for one in pools:
        _show_pool(one)
    for past in decisions:
        _show_decision(past)
    if pool is None:
        scale_machines.show_machines(project, state, last)


def _to_json(pools: Sequence[PoolSlots], decisions: Sequence[PastDecision]) -> dict[str, object]:
    from airfleet_provider.contract.slot_rules import decide

    return {
        "pools": [asdict(one) for one in pools],
        "decisions": [{**asdict(one), "same_again": decide(one.inputs) == one.decision} for one in decisions],
    }


def _show_pool(one: PoolSlots) -> None:
    from airfleet_provider.contract.text import one_line

    total = sum(row["in_force"] or 0 for row in one.workers)
    click.echo(f"{one.rule.pool}: {total} slots in force")
    if one.override:
        row = one.override
        click.echo(f"  set to {row['slots']} by {one_line(row['actor'])}: {one_line(row['reason'])}")
    for row in one.workers:
        wanted = row["otherwise"] if row["slots"] is None else row["slots"]
        seen = "has not reported" if row["age_s"] is None else f"reported {row['age_s']:.0f} s ago"
        takes = "" if row["takes"] else ", takes no tasks"
        click.echo(f"  {row['host']:<20} {wanted:>4} slots, holds {row['held']} tasks, {seen}{takes}")


def _show_decision(past: PastDecision) -> None:
    from airfleet_provider.contract.slot_rules import decide

    demand, inputs = past.inputs.demand, past.inputs
    moment = past.decided_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    shares = ", ".join(f"{host} {slots}" for host, slots in sorted(past.decision.slots.items())) or "no worker"
    click.echo(f"{moment}  {past.pool}: {past.decision.wanted} slots ({shares}): {past.decision.reason}")
    click.echo(
        f"{'':<21}{demand.running} run, {demand.queued} are queued, {demand.admissible} could be;"
        f" limits {inputs.least} to {inputs.most}, peak {inputs.peak}"
    )
    if demand.lasting or demand.due:
        click.echo(f"{'':<21}hosts for {demand.lasting} that go on and {demand.due} of crons that come soon")
    if (again := decide(inputs)) != past.decision:
        click.echo(f"{'':<21}by the present rules: {again.wanted} slots")


@command.command("hosts")
@click.argument("pool", required=False)
@options.project_option
@options.state
@click.option("--days", type=click.FloatRange(0.01, 30), default=7.0, show_default=True, help="Days of past decisions.")
@options.as_json
def hosts_command(pool: str | None, project: Path, state: Path | None, days: float, as_json: bool) -> None:
    """Show how many hosts each pool needs now, the most that it needed, and which hosts are empty.

    This command stops no host; `airfleet scale machines` does. `--json` is for a program that does: an empty host may
    get tasks again until its worker is drained.

    \b
    Example:
      airfleet scale hosts cpu --days 7
    """
    from airfleet.operations.slots import open_slots

    with open_slots(project, state) as slots:
        needs = [slots.find_need(name, days=days) for name in (slots.rules if pool is None else [pool])]
    if as_json:
        click.echo(json.dumps([asdict(one) for one in needs], indent=2))
        return
    if not needs:
        click.echo(NO_POOL, err=True)
    for one in needs:
        click.echo(f"{one.pool}: {one.needed} of {one.hosts} hosts needed, {one.most_needed} at most in {days:g} days")
        for host in one.empty:
            click.echo(f"  {host} is empty")


@command.command("simulate")
@click.argument("pool")
@options.project_option
@options.state
@click.option("--days", type=click.FloatRange(0.01, 3660), default=30.0, show_default=True, help="Days of past tasks.")
@click.option("--min", "least", type=click.IntRange(1), help="Other `min`.")
@click.option("--max", "most", type=click.IntRange(1), help="Other `max`.")
@click.option("--calm", help="Other `calm`, such as 5m.")
@click.option("--jitter", help="Let all crons begin up to this later, such as 10m, each Dag at its own moment.")
@options.as_json
def simulate_command(
    pool: str,
    project: Path,
    state: Path | None,
    days: float,
    least: int | None,
    most: int | None,
    calm: str | None,
    jitter: str | None,
    as_json: bool,
) -> None:
    """Run the past tasks of a pool again, on paper, with the limits of fleet.yaml and with others.

    Each task starts when it was ready and a slot is free, and runs as long as it ran. It is a comparison and no
    promise: a task that starts later makes none ready later, and tasks that the archive has taken do not count.

    \b
    Example:
      airfleet scale simulate cpu --days 30 --min 4 --calm 5m
      airfleet scale simulate cpu --jitter 10m
    """
    from airfleet.operations.slots import open_slots
    from airfleet_provider.contract import slot_simulation
    from airfleet_provider.contract.jitter_rules import JitterRule
    from airfleet_provider.contract.slot_simulation import fix, simulate

    calm_s = _read_duration("--calm", calm)
    jitter_s = _read_duration("--jitter", jitter)
    with open_slots(project, state) as slots:
        rule = slots.find_rule(pool)
        tasks = slots.list_past(pool, days=days)
        present = slots.jitter
    tries = {"all slots, always": fix(rule), "as in fleet.yaml": rule}
    if least or most or calm_s is not None:
        tries["with these options"] = replace(
            rule,
            least=least or rule.least,
            most=most or rule.most,
            calm_s=rule.calm_s if calm_s is None else calm_s,
        )
    outcomes = {name: simulate(one, tasks) for name, one in tries.items()}
    busiest = {"now": slot_simulation.count_busiest_minute(tasks)}
    if jitter_s is not None:
        later = slot_simulation.jitter(tasks, present, [JitterRule("", None, int(jitter_s))])
        # With other limits too, if some are given.
        outcomes["with this jitter"] = simulate(list(tries.values())[-1], later)
        busiest["with this jitter"] = slot_simulation.count_busiest_minute(later)
    if as_json:
        found = {name: {**asdict(one), "utilisation": one.utilisation} for name, one in outcomes.items()}
        click.echo(json.dumps({"pool": pool, "days": days, "outcomes": found, "busiest_minute": busiest}, indent=2))
        return
    click.echo(f"{len(tasks)} tasks of the last {days:g} days", err=True)
    click.echo(f"{'':<20}{'slot-hours':>11}{'in use':>8}{'most':>6}{'waits: p50':>12}{'p95':>8}{'longest':>9}")
    for name, outcome in outcomes.items():
        _show_outcome(name, outcome)
    shown = ", ".join(f"{count} tasks {name}" for name, count in busiest.items())
    click.echo(f"became ready in the busiest minute: {shown}", err=True)


def _read_duration(option: str, text: str | None) -> float | None:
    from airfleet.errors import UsageError
    from airfleet.spec.sections.slas import seconds_of

    try:
        return None if text is None else float(seconds_of(text))
    except ValueError:
        raise UsageError(f"{option} {text!r} is no duration", hint=f"such as {option} 90s or 5m") from None


def _show_outcome(name: str, one: SimulationOutcome) -> None:
    click.echo(
        f"{name:<20}{one.slot_hours:>11.1f}{one.utilisation:>8.0%}{one.most_slots:>6}"
        f"{one.wait_p50_s:>10.1f} s{one.wait_p95_s:>6.1f} s{one.wait_most_s:>7.1f} s"
    )

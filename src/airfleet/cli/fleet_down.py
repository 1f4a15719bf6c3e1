"""`airfleet down` of many machines: Airflow is stopped, its stores stay up, and `apply` starts it again."""

from __future__ import annotations

from pathlib import Path

from airfleet.cli.console import confirm, log, say
from airfleet.errors import AirfleetError
from airfleet.operations import session, stopping
from airfleet.spec.fleet import Fleet


def run(fleet: Fleet, project: Path, state: Path | None, *, yes: bool) -> None:
    """Say what would stop, ask, and stop it."""
    with session.open_session(project, state, notify=log) as work:
        shells = work.open_shells(fleet.hosts)
        plan = stopping.look(shells)
        if plan.silent:
            first = plan.silent[0]
            hint = "bring it back first: what runs there would work on alone"
            raise AirfleetError(first.what, where=first.where, hint=hint)
        if not plan.units:
            say("nothing of Airflow runs on this fleet")
            return
        _confirm(fleet, plan, yes=yes)
        work.hold_lease_through(work.open_shells([work.fleet.primary])[work.fleet.primary.name])
        try:
            stopping.stop(plan, shells, notify=log, require=work.require_lease)
        except KeyboardInterrupt:
            log("what was told to stop stops all the same; `airfleet apply` starts everything again")
            raise
    say(f"{fleet.name} is down: `airfleet apply` starts it again, and so does a restart of a host")


def _confirm(fleet: Fleet, plan: stopping.StopPlan, *, yes: bool) -> None:
    say(f"This stops Airflow on the fleet {fleet.name}, in this order:")
    for what, hosts in plan.groups:
        if hosts:
            say(f"  {what}: {', '.join(hosts)}")
    say("PostgreSQL, RabbitMQ and the balancer go on. No Dag runs until `airfleet apply`.")
    confirm("Stop it?", yes=yes)

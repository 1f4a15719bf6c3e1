"""`airfleet down` of a fleet: stop Airflow and keep databases and brokers running. `apply` starts it again."""

from __future__ import annotations

from pathlib import Path

from airfleet.cli.console import confirm, log, say
from airfleet.errors import AirfleetError
from airfleet.operations import session, stopping
from airfleet.spec.fleet import Fleet


def run(fleet: Fleet, project: Path, state: Path | None, *, yes: bool) -> None:
    """Show what will stop, ask for a confirmation, and stop it."""
    with session.open_session(project, state, notify=log) as work:
        shells = work.open_shells(fleet.hosts)
        plan = stopping.look(shells)
        if plan.silent:
            first = plan.silent[0]
            hint = "bring the host back first: otherwise its services continue alone"
            raise AirfleetError(first.what, where=first.where, hint=hint)
        if not plan.units:
            say("no Airflow service runs on this fleet")
            return
        _confirm(fleet, plan, yes=yes)
        work.hold_every_lease(work.open_shells(work.fleet.keepers))
        try:
            stopping.stop(plan, shells, notify=log, require=work.require_lease)
        except KeyboardInterrupt:
            log("services that were already told to stop still stop; `airfleet apply` starts everything again")
            raise
    say(f"{fleet.name} is down: `airfleet apply`, or a restart of a host, starts it again")


def _confirm(fleet: Fleet, plan: stopping.StopPlan, *, yes: bool) -> None:
    say(f"This stops Airflow on the fleet {fleet.name}, in this order:")
    for what, hosts in plan.groups:
        if hosts:
            say(f"  {what}: {', '.join(hosts)}")
    say("PostgreSQL, RabbitMQ and the balancer keep running. No Dag runs until `airfleet apply`.")
    confirm("Stop it?", yes=yes)

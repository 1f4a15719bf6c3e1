"""`airfleet down` of many machines: Airflow is stopped, its stores stay up, and `apply` starts it again."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path

import click

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations import stopping
from airfleet.runners.fleet import lease
from airfleet.runners.fleet.transport.connection import HostConnection
from airfleet.runners.fleet.transport.shell import HostShell
from airfleet.spec.fleet import Fleet
from airfleet.workspace import primary_record
from airfleet.workspace.project import find_project, find_state


def run(fleet: Fleet, project: Path, state: Path | None, *, yes: bool) -> None:
    """Say what would stop, ask, and stop it."""
    project = find_project(project)
    folder = find_state(project, state)
    folder.create()
    with ExitStack() as stack:
        shells = {host.name: HostShell(host, project) for host in fleet.hosts}
        for shell in shells.values():
            stack.callback(shell.close)
        plan = stopping.look(shells)
        if plan.silent:
            first = plan.silent[0]
            hint = "bring it back first: what runs there would work on alone"
            raise AirfleetError(first.what, where=first.where, hint=hint)
        if not plan.units:
            click.echo("nothing of Airflow runs on this fleet", err=True)
            return
        _confirm(fleet, plan, yes=yes)
        token = stack.enter_context(lease.claim(folder.root, lease.find_actor(), _now("%Y-%m-%d %H:%M:%S %Z")))
        connection = HostConnection(primary_record.apply_to(fleet, folder).primary, project)
        stack.callback(connection.close)
        connection.open()
        held = stack.enter_context(lease.hold(connection, lease.find_actor(), token))

        def require() -> None:
            if held.lost.is_set():
                raise AirfleetError("the lease was lost", hint="look whether somebody applies, then say it again")

        try:
            stopping.stop(plan, shells, notify=_say, require=require)
        except KeyboardInterrupt:
            _say("what was told to stop stops all the same; `airfleet apply` starts everything again")
            raise
    click.echo(f"{fleet.name} is down: `airfleet apply` starts it again, and so does a restart of a host", err=True)


def _confirm(fleet: Fleet, plan: stopping.StopPlan, *, yes: bool) -> None:
    click.echo(f"This stops Airflow on the fleet {fleet.name}, in this order:", err=True)
    for what, hosts in plan.groups:
        if hosts:
            click.echo(f"  {what}: {', '.join(hosts)}", err=True)
    click.echo("PostgreSQL, RabbitMQ and the balancer go on. No Dag runs until `airfleet apply`.", err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", hint="say --yes")
    click.confirm("Stop it?", abort=True, err=True)


def _say(text: str) -> None:
    click.echo(f"{_now('%H:%M:%S')} {text}", err=True)


def _now(form: str) -> str:
    return time.strftime(form)

"""`airfleet access …`: who may do what, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from airfleet.cli import access_tokens, options
from airfleet_provider.contract import wording

if TYPE_CHECKING:
    from airfleet_provider.contract.access_plan import AccessPlan, PresentAccess

# The functions import what they need, as `--help` needs none of it.
# ruff: noqa: PLC0415

CHANGES = 3


@click.group("access", short_help="Who may do what with which Dag, and why.")
def command() -> None:
    """Show users, roles and rules, explain what a user may do with a Dag, and unlock a user after failed logins.

    \b
    Example:
      airfleet access list
      airfleet access plan && airfleet access apply
      airfleet access explain ann sales_daily
      airfleet access test ann
      airfleet access unlock ann
    """


command.add_command(access_tokens.command)


@command.command("list")
@options.project_option
@options.state
@options.as_json
def list_command(project: Path, state: Path | None, as_json: bool) -> None:
    """List the users with their roles, the Dags of the roles of fleet.yaml, and what only some Dags may use.

    \b
    Example:
      airfleet access list --json
    """
    from airfleet.operations.access import open_access
    from airfleet_provider.contract.access_plan import describe_rules
    from airfleet_provider.contract.access_roles import PLATFORM_ADMIN
    from airfleet_provider.contract.task_lists import TaskLists
    from airfleet_provider.contract.text import one_line

    with open_access(project, state) as access:
        present = access.read()
        named = {*(access.fleet.access.users if access.fleet.access else ()), PLATFORM_ADMIN}
    if as_json:
        click.echo(json.dumps(describe(present, named), indent=2))
        return
    for name, user in sorted(present.users.items()):
        notes = [
            *(["deactivated"] if not user.is_active else []),
            *(["service account"] if user.is_service else ["not in fleet.yaml"] if name not in named else []),
        ]
        roles = ", ".join(sorted(user.roles)) or "no role"
        click.echo(f"{one_line(name):<24}  {roles:<32}  {one_line(user.email)}{''.join(f'  ({one})' for one in notes)}")
    for role, rules in sorted(present.rules.roles.items()):
        click.echo(f"role {role:<19}  {describe_rules(rules)}")
    for what, entry in present.lists.list_changes(TaskLists()):
        click.echo(f"{one_line(what):<24}  {one_line(entry)}")


def describe(present: PresentAccess, named: set[str]) -> dict[str, object]:
    """Return users and rules as JSON."""
    return {
        "users": [
            {
                "name": name,
                "email": one.email,
                "roles": sorted(one.roles),
                "active": one.is_active,
                "service_account": one.is_service,
                "in_fleet_yaml": name in named,
            }
            for name, one in sorted(present.users.items())
        ],
        "rules": json.loads(present.rules.to_text()),
        "tasks": json.loads(present.lists.to_text()),
    }


@command.command("plan")
@options.project_option
@options.state
@click.option("--check", is_flag=True, help="Exit with 0 if there is nothing to change, with 3 if there is.")
@options.as_json
def plan_command(project: Path, state: Path | None, check: bool, as_json: bool) -> None:
    """Show what `access apply` would change of users and roles, and whom fleet.yaml does not know.

    Whether a password changes is not shown.

    \b
    Example:
      airfleet access plan --check
    """
    from airfleet.operations.access import open_access
    from airfleet_provider.contract.text import one_line

    with open_access(project, state) as access:
        plan = access.plan()
    if as_json:
        click.echo(json.dumps(describe_plan(plan), indent=2))
    else:
        for change in plan.changes:
            click.echo(str(change))
        for name in plan.unknown_users:
            click.echo(f"user {one_line(name)}: is not in fleet.yaml, and keeps all rights (access.prune is not set)")
        for name in plan.unknown_roles:
            click.echo(f"role {one_line(name)}: is not in fleet.yaml, and stays (access.prune is not set)")
        if not plan.changes:
            click.echo("nothing to change", err=True)
    raise SystemExit(CHANGES if check and plan.changes else 0)


def describe_plan(plan: AccessPlan) -> dict[str, object]:
    """Return a plan as JSON."""
    changes = [{"kind": one.kind.value, "name": one.name, "what": one.what} for one in plan.changes]
    return {"changes": changes, "unknown_users": plan.unknown_users, "unknown_roles": plan.unknown_roles}


@command.command("apply")
@options.project_option
@options.state
@click.option("--host", help="Of a fleet: the scheduler host to run it on.  [default: the first that answers]")
def apply_command(project: Path, state: Path | None, host: str | None) -> None:
    """Make users, roles and rules as fleet.yaml says, without `up` or `apply`. Passwords stay as they are.

    It also puts right what somebody changed in the UI. A user whom it adds gets a password with the next `up` or
    `apply`.

    \b
    Example:
      airfleet access plan && airfleet access apply
    """
    from airfleet.cli.airflow import give_input, run_airflow
    from airfleet.operations.access import find_desired
    from airfleet.workspace.project import find_project, read_fleet

    desired = find_desired(read_fleet(find_project(project)))
    # A program takes one word of at most 128 KiB, which a thousand users fill.
    give_input(desired.to_text())
    run_airflow(project, state, host, ("airfleet", "access", "--file", "-"))


@command.command("explain")
@options.project_option
@options.state
@click.argument("user")
@click.argument("dag")
@options.as_json
def explain_command(project: Path, state: Path | None, user: str, dag: str, as_json: bool) -> None:
    """Say whether a user may read and edit a Dag, and which role and rule decide that.

    It also says which of the connections, variables and XComs that `access.tasks` lists the tasks of the Dag may use.

    \b
    Example:
      airfleet access explain ann sales_daily
    """
    from airfleet.operations.access import open_access
    from airfleet_provider.contract.text import one_line

    with open_access(project, state) as access:
        found = access.explain(user, dag)
    if as_json:
        answers = {one.right.value: {"granted": one.is_granted, "why": one.why} for one in found.answers}
        shown = {"user": found.user.name, "dag": found.dag, "roles": sorted(found.user.roles), "tags": found.tags}
        uses = [
            {"kind": use.kind.value, "name": use.name, "granted": use.is_granted, "why": use.why} for use in found.uses
        ]
        click.echo(json.dumps({**shown, **answers, "tasks": uses}, indent=2))
        return
    for one in found.answers:
        word = "may" if one.is_granted else "may not"
        click.echo(f"{found.user.name} {word} {one.right} {found.dag}: {one_line(one.why)}")
    for use in found.uses:
        word = "may" if use.is_granted else "may not"
        click.echo(f"tasks of {found.dag} {word} use {use.kind} {use.name}: {one_line(use.why)}")


@command.command("test")
@options.project_option
@options.state
@click.option("--host", help="Of a fleet: the web host to run it on.  [default: each of them]")
@click.argument("user", required=False, default="")
@options.as_json
def check_command(project: Path, state: Path | None, host: str | None, user: str, as_json: bool) -> None:
    """Test the login by the directory or OpenID provider that fleet.yaml names, and find USER there.

    It connects, verifies the certificate, logs in as the service account or client, and shows the groups of USER and
    the roles that they give. It runs where users log in: on this machine, or on the web hosts of a fleet. It takes
    what fleet.yaml says now, so that it can be used before an apply. It changes nothing, and needs no password of USER.

    Exits with 1 if something is wrong. Each finding says what to do.

    \b
    Example:
      airfleet access test
      airfleet access test ann
    """
    from dataclasses import asdict

    from airfleet.cli.console import mark
    from airfleet.cli.environment import enter
    from airfleet.errors import UsageError
    from airfleet.operations import access_check
    from airfleet.workspace.project import find_project, read_fleet

    project = find_project(project)
    fleet = read_fleet(project)
    question = access_check.ask(fleet, project, user)
    if fleet.hosts:
        found = list(access_check.check_hosts(fleet, project, question, host))
    elif host:
        raise UsageError("--host is of a fleet", where=str(project), hint="fleet.yaml names no hosts")
    else:
        enter(project, fleet, state)
        found = [access_check.check_here(question)]
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        for one in found:
            for step in one.steps:
                place = f"{one.host}: " if one.host else ""
                detail = f" ({step.detail})" if step.detail else ""
                click.echo(f"{mark('ok' if step.is_done else 'error')}  {place}{step.what}{detail}")
                if not step.is_done and step.hint:
                    click.echo(f"      hint: {step.hint}")
    raise SystemExit(0 if all(step.is_done for one in found for step in one.steps) else 1)


@command.command("unlock")
@options.project_option
@options.state
@click.argument("user")
def unlock_command(project: Path, state: Path | None, user: str) -> None:
    """Let a user try to log in again at once, after too many failed logins.

    \b
    Example:
      airfleet access unlock ann
    """
    from airfleet.operations.access import open_access

    with open_access(project, state) as access:
        count = access.unlock(user)
    forgotten = f"{wording.count(count, 'failed login')} of {user} {'is' if count == 1 else 'are'} forgotten"
    click.echo(forgotten if count else f"{user} has no failed logins", err=True)

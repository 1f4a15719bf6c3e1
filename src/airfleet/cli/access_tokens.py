"""`airfleet access tokens …`: service accounts for CI and scripts."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from airfleet.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airfleet_provider.contract.access_token import KeptToken

# The functions import what they need, as `--help` needs none of it.
# ruff: noqa: PLC0415

UNITS = {"h": 3600, "d": 86_400, "w": 604_800}
MOST_DAYS = 400
SAYS, HINT = "airfleet: ", "hint: "


@click.group("tokens", short_help="Tokens of service accounts, for CI and scripts.")
def command() -> None:
    """Make, list and revoke service accounts. Each has a name, roles as a user has them, and one token that expires.

    \b
    Example:
      airfleet access tokens create ci --role team-a --expires 90d
      airfleet access tokens list
      airfleet access tokens revoke ci
    """


def parse_expiry(text: str) -> int:
    """Return the seconds of a text such as 90d.

    Raises:
        click.BadParameter: It is no such text, or too long.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if not found:
        raise click.BadParameter(f"{text!r} is no time; write 12h, 90d or 8w")
    seconds = int(found[1]) * UNITS[found[2]]
    if seconds > MOST_DAYS * UNITS["d"]:
        raise click.BadParameter(f"{text} is more than {MOST_DAYS} days")
    return seconds


@command.command("create")
@options.project_option
@options.state
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, help="A role of Airflow or of fleet.yaml; may repeat.")
@click.option(
    "--expires",
    default="90d",
    show_default=True,
    callback=lambda _, __, value: parse_expiry(value),
    help="When the token ends: 12h, 90d or 8w, 400 days at most.",
)
def create_command(project: Path, state: Path | None, name: str, roles: tuple[str, ...], expires: int) -> None:
    """Make a service account and print its token on stdout, once. Only a hash of the token is kept.

    Send it as `Authorization: Bearer TOKEN` to Airflow's REST API. A name whose token has ended gets another.

    \b
    Example:
      airfleet access tokens create ci --role team-a --expires 90d > token
    """
    from airfleet.errors import UsageError
    from airfleet_provider.contract import access_token
    from airfleet_provider.contract.access_roles import PLATFORM_ADMIN

    if not access_token.NAME.fullmatch(name) or name == PLATFORM_ADMIN:
        hint = "lower-case letters, digits and . _ -, 63 at most"
        raise UsageError(f"{name!r} is no name of a service account", hint=hint)
    if "Public" in roles:
        raise UsageError("the role Public is for those without a login", hint="choose another role")
    token_id = secrets.token_hex(access_token.ID_BYTES)
    token = access_token.make_token(token_id, secrets.token_urlsafe(access_token.SECRET_BYTES))
    given = [word for role in roles for word in ("--role", role)]
    # The platform gets the hash alone: neither a host nor a log ever has the token.
    hashed = access_token.make_hash(token)
    _run(project, state, ("create", "--name", name, *given, "--id", token_id, "--hash", hashed, f"--seconds={expires}"))
    click.echo(token)
    click.echo(f"{name}: this token is shown once; `airfleet access tokens revoke {name}` ends it", err=True)


@command.command("list")
@options.project_option
@options.state
@options.as_json
def list_command(project: Path, state: Path | None, as_json: bool) -> None:
    """List the tokens with their roles, their end, and their last use, to ten minutes or an hour.

    \b
    Example:
      airfleet access tokens list --json
    """
    from airfleet.operations.access import open_access

    with open_access(project, state) as access:
        tokens, present = access.list_tokens(), access.read()
    roles = {name: sorted(one.roles) for name, one in present.users.items()}
    if as_json:
        click.echo(json.dumps([describe(one, roles.get(one.name, [])) for one in tokens], indent=2))
        return
    for one in tokens:
        used = f"{one.used_at:%Y-%m-%d %H:%M}" if one.used_at else "never"
        held = ", ".join(roles.get(one.name, [])) or "no role"
        click.echo(f"{one.name:<24}  {one.state:<8}  until {one.expires_at:%Y-%m-%d %H:%M}  used {used}  {held}")
    if not tokens:
        click.echo("no service account has a token", err=True)


def describe(token: KeptToken, roles: Sequence[str]) -> dict[str, object]:
    """Return a token as JSON."""
    return {
        "name": token.name,
        "id": token.id,
        "state": token.state.value,
        "roles": list(roles),
        "created_at": token.created_at.isoformat(),
        "expires_at": token.expires_at.isoformat(),
        "used_at": token.used_at.isoformat() if token.used_at else None,
    }


@command.command("revoke")
@options.project_option
@options.state
@click.argument("name")
def revoke_command(project: Path, state: Path | None, name: str) -> None:
    """End the token of a service account: within seconds, no api-server accepts it any more.

    \b
    Example:
      airfleet access tokens revoke ci
    """
    _run(project, state, ("revoke", "--name", name))
    click.echo(f"{name}: the token is revoked; api-servers refuse it within 3 s", err=True)


def _run(project: Path, state: Path | None, words: Sequence[str]) -> None:
    """Run the command of the platform.

    Raises:
        AirfleetError: It has not changed anything; the error has what it printed.
    """
    from airfleet.cli.run import call_airfleet
    from airfleet.errors import AirfleetError
    from airfleet.operations.explanation import find_place
    from airfleet_provider.contract.text import one_line

    result = call_airfleet(find_place(project, state), "airflow", "--own", words=("airfleet", "access-token", *words))
    if result.code:
        lines = [one_line(line, 1000) for line in result.output.splitlines() if line.strip()]
        # Airflow's own warnings come before what the command says.
        own = [line.removeprefix(SAYS) for line in lines if line.startswith(SAYS)] or lines[-3:]
        hint = next((line.removeprefix(HINT) for line in lines if line.startswith(HINT)), "")
        raise AirfleetError(" / ".join(own) or f"exit code {result.code}", hint=hint)

"""`python -m airfleet_provider.access.directory_check`: the self-test of logins, on the host where logins happen.

It reads a question as JSON from its standard input, as it holds a secret, and prints the steps as JSON. It uses the
code by which users log in. It changes nothing, and sends no password of a user.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

from airfleet_provider.access.directory_errors import DirectoryError
from airfleet_provider.access.ldap_client import LdapClient, LdapSession
from airfleet_provider.access.oidc_check import check_provider
from airfleet_provider.contract.access_roles import PLATFORM_ADMIN
from airfleet_provider.contract.directory import CheckStep, Directory, DirectoryUser, LdapSource
from airfleet_provider.contract.text import hide, one_line


def check(directory: Directory, user: str, callback: str, now: Callable[[], float] = time.time) -> list[CheckStep]:
    """Return the steps of the self-test, up to the first that keeps the others from being done."""
    source = directory.source
    steps: list[CheckStep] = []
    try:
        if isinstance(source, LdapSource):
            for one in _check_ldap(directory, source, user):
                steps.append(one)  # noqa: PERF402 - the steps before an error stay
        else:
            for one in check_provider(source, callback, now):
                steps.append(one)  # noqa: PERF402 - as above
    except DirectoryError as error:
        steps.append(CheckStep(error.what, False, hint=error.hint))
    if user and not isinstance(source, LdapSource) and all(one.is_done for one in steps):
        what = f"a provider says who {user} is only when {user} logs in"
        steps.append(CheckStep(what, True, detail="afterwards `airfleet access list` shows the roles"))
    secret = source.bind_password if isinstance(source, LdapSource) else source.client_secret
    return [_clean(one, secret) for one in steps]


def _check_ldap(directory: Directory, source: LdapSource, user: str) -> Iterator[CheckStep]:
    failed = None
    for url in source.urls:
        try:
            with LdapClient(replace(source, urls=(url,))).open():
                what = f"{url}: connected, the certificate is verified, logged in as {source.bind_dn}"
                yield CheckStep(what, True)
        except DirectoryError as error:
            failed = CheckStep(error.what, False, hint=error.hint)
            yield failed
    if failed and len(source.urls) == 1:
        return
    with LdapClient(source).open() as session:
        if not session.count_users():
            yield CheckStep(
                f"no user is found below {source.user_base}",
                False,
                hint=f"correct users.base, users.filter {source.user_filter} or users.name {source.name_attribute}; or"
                f" let {source.bind_dn} read these entries",
            )
            return
        yield CheckStep(f"users are found below {source.user_base}", True)
        session.check_groups()
        yield CheckStep(f"groups are below {source.group_base}", True)
        if user:
            yield from _check_user(directory, source, session, user)


def _check_user(directory: Directory, source: LdapSource, session: LdapSession, name: str) -> Iterator[CheckStep]:
    if name.lower() in directory.local or name.lower() == PLATFORM_ADMIN:
        yield CheckStep(
            f"{name} is a user of fleet.yaml, who logs in by the password there",
            False,
            hint="the directory is not asked for this name; remove the user from access.users to let it decide",
        )
        return
    found, obstacle = session.find(name), session.find_obstacle(name)
    if found is None and obstacle:
        yield CheckStep(f"{name} cannot log in: {obstacle.what}", False, hint=obstacle.hint)
        return
    if found is None:
        fits = f"({source.name_attribute}={name}) and {source.user_filter}"
        yield CheckStep(
            f"no entry below {source.user_base} fits {fits}",
            False,
            hint="correct the name, users.name or users.filter; somebody who left is found no more, either",
        )
        return
    dn, user = found
    yield CheckStep(f"{name} is {dn}", True, detail=user.email)
    yield from _check_roles(directory, source, user)
    if obstacle:
        yield CheckStep(f"{name} cannot log in now: {obstacle.what}", False, hint=obstacle.hint)


def _check_roles(directory: Directory, source: LdapSource, user: DirectoryUser) -> Iterator[CheckStep]:
    names = ", ".join(sorted(one.dn or one.name for one in user.groups))
    if not user.groups:
        yield CheckStep(
            f"{user.name} is in no group below {source.group_base}",
            False,
            hint=f"add the user to a group, or correct groups.base or groups.member, which is {source.member}",
        )
        return
    yield CheckStep(f"{user.name} is in the groups {names}", True)
    roles = directory.find_roles(user.groups)
    if not roles:
        hint = "write one of them under `directory` of a group in access.groups of fleet.yaml"
        yield CheckStep(f"none of these groups gives a role, so {user.name} cannot log in", False, hint=hint)
        return
    yield CheckStep(f"{user.name} gets the roles {', '.join(sorted(roles))}", True)


def _clean(step: CheckStep, secret: str) -> CheckStep:
    """Return a step as it may be printed: without the secret, and without what would move a terminal's cursor."""

    def clean(text: str) -> str:
        return one_line(hide(text, [secret]), 1000)

    return CheckStep(clean(step.what), step.is_done, clean(step.detail), clean(step.hint))


def main() -> None:
    """Answer one question."""
    question = json.load(sys.stdin)
    directory = Directory.from_text(json.dumps(question["directory"]))
    steps = check(directory, question["user"], question["callback"])
    print(json.dumps([asdict(one) for one in steps]))


if __name__ == "__main__":
    main()

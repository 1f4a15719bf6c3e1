"""The keys of tokens on web and scheduler hosts: who signs reads a private key, who checks reads public keys."""

from __future__ import annotations

from airfleet.components import token_keys
from airfleet.components.host_model import ETC, SERVER_USER, HostFile, Place, private
from airfleet.components.hosts.database_urls import HOME
from airfleet.components.token_keys import TokenUse
from airfleet.spec.topology import Role

FOLDER = ETC / HOME
# The primary group of the processes that sign, and the name of a user as which nothing runs. Code of Dag files runs as
# the same user as those processes. It cannot open a file of this group. And the kernel lets no process read the memory
# of one with another group.
SIGNERS = "airfleet-signers"


def list_files(place: Place, role: Role) -> tuple[HostFile, ...]:
    """Return the files with keys on a host of this role. A scheduler host cannot make a token of a user."""
    secrets = place.credentials.platform
    is_web = role == "web"
    keys = tuple(
        private(FOLDER / use.private, token_keys.render_private(secrets.jwt_key, use).reveal(), SIGNERS)
        for use in (TokenUse if is_web else (TokenUse.TASK,))
        if token_keys.is_used(secrets)
    )
    if not is_web:
        return keys
    public = (
        private(FOLDER / use.public, token_keys.render_keys(secrets, use).reveal(), SERVER_USER) for use in TokenUse
    )
    return (*keys, *public, private(FOLDER / token_keys.LINKS, token_keys.render_links(secrets).reveal(), SERVER_USER))


def list_read(place: Place, files: tuple[HostFile, ...], process: str) -> tuple[HostFile, ...]:
    """Return those of the files that a process of this name reads at its start."""
    read = list_variables(place, process).values()
    return tuple(one for one in files if str(one.path) in read)


def list_variables(place: Place, process: str) -> dict[str, str]:
    """Return the environment by which a process of this name finds its keys.

    Airflow imports plugins and local settings from its home. The usual one belongs to the user whom Dag code has.
    """
    home = {"AIRFLOW_HOME": str(FOLDER)} if token_keys.find_signed(process) else {}
    return {**home, **token_keys.list_variables(process, FOLDER, place.credentials.platform)}


def confine(process: str) -> dict[str, str]:
    """Return the lines of the sandbox that tell a process that signs from others of the same user.

    The file of a core dump belongs to that user, and any of its processes can cause one by a signal.
    """
    own = {"Group": SIGNERS, "SupplementaryGroups": SERVER_USER, "LimitCORE": "0"}
    return own if token_keys.find_signed(process) else {}

"""TLS between hosts: the authorities that a host trusts, and what each of its servers proves its identity with."""

from __future__ import annotations

from pathlib import Path

from airfleet.components.host_model import (
    AUTHORITIES,
    BROKER_AUTHORITIES,
    DATABASE_AUTHORITIES,
    Folder,
    HostFile,
    Part,
    Place,
    private,
)

# The files of a server, in its folder.
CERTIFICATE, KEY = "host.pem", "host.key"


def describe(place: Place) -> Part:
    """The certificates of the authorities, which every client on the host reads; they are no secret."""
    servers = ((DATABASE_AUTHORITIES, place.credentials.database), (BROKER_AUTHORITIES, place.credentials.broker))
    others = (HostFile(path, own.authorities) for path, own in servers if own and own.authorities)
    return Part(
        name="certificates",
        folders=(Folder(AUTHORITIES.parent),),
        files=(HostFile(AUTHORITIES, place.credentials.encryption.trusted), *others),
    )


def list_files(place: Place, folder: Path, group: str) -> tuple[HostFile, HostFile]:
    """The host's certificate and its private key for one server, whose group alone may read the key."""
    own = place.certificate
    return HostFile(folder / CERTIFICATE, own.certificate), private(folder / KEY, own.key.reveal(), group)

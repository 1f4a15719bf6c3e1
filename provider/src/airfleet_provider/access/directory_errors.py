"""What is wrong when a directory or an OpenID provider does not do what it is asked, with what to do."""

from __future__ import annotations

import re
import socket
import ssl

CERTIFICATES = (
    ("has expired", "the certificate has expired", "renew it at the server; or this machine's clock is wrong: date -u"),
    ("not yet valid", "the certificate is not valid yet", "set this machine's clock: timedatectl status"),
    (
        "self-signed|self signed|unable to get local issuer|unable to get issuer",
        "no trusted authority has signed the certificate",
        "name the file with your authority's certificate under `authority`",
    ),
    (
        "hostname mismatch|doesn't match|not match|IP address mismatch",
        "the certificate is for another name",
        "write the name that the certificate has into the URL",
    ),
)


class DirectoryError(Exception):
    """The source cannot say who somebody is. It is no statement about the user."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


class UnclearUserError(DirectoryError):
    """The source answers, and cannot say who this one user is. Others can be asked for."""


def describe_network(error: BaseException, place: str) -> DirectoryError:
    """Return what kept a connection to `place` from being made, in one line."""
    text = " ".join(str(one) for one in (error, error.__cause__, error.__context__) if one)
    for pattern, what, hint in CERTIFICATES:
        if re.search(pattern, text, re.IGNORECASE):
            return DirectoryError(f"{place}: {what}", hint)
    if isinstance(error, socket.gaierror) or "resol" in text or "Name or service" in text or "invalid server" in text:
        return DirectoryError(f"{place}: this name has no address", "correct the URL, or ask DNS: getent hosts NAME")
    if "refused" in text:
        return DirectoryError(f"{place}: nothing listens there", "correct the port, or start the server")
    if isinstance(error, TimeoutError) or "timed out" in text or "time-out" in text:
        return DirectoryError(
            f"{place}: no answer in time", "a firewall may drop packets: open the port from web hosts"
        )
    if isinstance(error, ssl.SSLError) or "ssl" in text.lower():
        return DirectoryError(f"{place}: no encrypted connection: {text[:120]}", "ldaps:// is 636, ldap:// is 389")
    return DirectoryError(f"{place}: {text[:160] or type(error).__name__}", "look at the log of the server")

"""What FAB's `webserver_config.py` of a web host says, made from the file that describes the directory.

The file holds data and no code, so whoever may write fleet.yaml runs nothing on a web host by it.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from airfleet_provider.access.directory_file import read_directory
from airfleet_provider.contract.directory import OIDC_NAME, LdapSource, OidcSource

# FAB's numbers of its ways to log in.
AUTH_LDAP, AUTH_OAUTH = 2, 4
TIMEOUT_S = 10


def read_settings() -> dict[str, Any]:
    """Return the settings of Flask; raises what `read_directory` raises."""
    directory = read_directory()
    if directory is None:
        return {}
    from airfleet_provider.access.sign_in import DirectorySecurityManager  # noqa: PLC0415 - it imports FAB

    # Nobody registers by FAB's own pages or mappings: airfleet makes users, and gives them roles.
    common = {"SECURITY_MANAGER_CLASS": DirectorySecurityManager, "AUTH_USER_REGISTRATION": False}
    if isinstance(directory.source, LdapSource):
        return {**common, "AUTH_TYPE": AUTH_LDAP, "AUTH_LDAP_SERVER": directory.source.urls[0]}
    return {**common, "AUTH_TYPE": AUTH_OAUTH, "OAUTH_PROVIDERS": [describe_provider(directory.source)]}


def describe_provider(source: OidcSource) -> dict[str, Any]:
    """Return the provider in FAB's words. Answers of another server, and codes of another client, are refused."""
    from airfleet_provider.access.oidc_client import VerifiedApp  # noqa: PLC0415 - it imports Authlib

    return {
        "name": OIDC_NAME,
        "token_key": "access_token",
        "remote_app": {
            "client_cls": VerifiedApp,
            "client_id": source.client_id,
            "client_secret": source.client_secret,
            "server_metadata_url": source.discovery,
            "client_kwargs": {
                "scope": " ".join(source.scopes),
                "code_challenge_method": "S256",
                "timeout": TIMEOUT_S,
                **({"verify": _keep_authority(source.authority)} if source.authority else {}),
            },
        },
    }


@functools.cache
def _keep_authority(pem: str) -> str:
    """Return a path with these certificates, which lives as long as this process. The library wants a file."""
    descriptor = os.memfd_create("authority")
    os.write(descriptor, pem.encode())
    return f"/proc/{os.getpid()}/fd/{descriptor}"

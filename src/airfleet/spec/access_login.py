"""Where users are who are not in fleet.yaml, with the sources of the secrets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from airfleet.spec.secret_ref import SecretRef
from airfleet_provider.contract.directory import Directory, LdapSource, OidcSource


@dataclass(frozen=True, slots=True)
class AccessLogin:
    """The source without its secret and its certificates. `where` is the place of the secret in fleet.yaml."""

    source: LdapSource | OidcSource
    secret: SecretRef
    where: str
    authority_file: str = ""
    session_s: int = 3600

    def complete(
        self, *, secret: str, authority: str, groups: dict[str, tuple[str, ...]], local: frozenset[str]
    ) -> Directory:
        """Return all that a web host needs."""
        source: LdapSource | OidcSource
        if isinstance(self.source, LdapSource):
            source = replace(self.source, bind_password=secret, authority=authority)
        else:
            source = replace(self.source, client_secret=secret, authority=authority)
        return Directory(source, groups, local, self.session_s)

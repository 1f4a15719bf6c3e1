"""Where users are who are not in fleet.yaml: a directory (LDAP) or an OpenID provider, and what its groups give.

Both halves read it: the control side writes it as a file for web hosts, and sends it to the self-test. No I/O.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# The name of the OpenID provider in the addresses of the sign-in page.
OIDC_NAME = "oidc"
# Below the address of the platform; the OpenID provider sends browsers back there.
CALLBACK = f"/auth/oauth-authorized/{OIDC_NAME}"
# Users of a directory whose rights were not confirmed for so long are asked for again.
CONFIRM_S = 300


@dataclass(frozen=True, slots=True)
class LdapSource:
    """A directory. Every connection is encrypted: `ldaps://`, or StartTLS at `ldap://`; certificates are verified.

    `authority` has the certificates to trust in PEM; without it, the system's count. A user is the one entry below
    `user_base` that fits `user_filter` and has the name in `name_attribute`. Groups are the entries below `group_base`
    whose attribute `member` names the user: by the whole DN, or by the name if the attribute is `memberUid`.
    """

    urls: tuple[str, ...]
    bind_dn: str
    user_base: str
    group_base: str
    name_attribute: str = "uid"
    user_filter: str = "(objectClass=person)"
    member: str = "member"
    authority: str = ""
    bind_password: str = field(default="", repr=False)

    @property
    def identity(self) -> str:
        """Return what names the source; it stays the same if a server or a password changes."""
        return f"ldap {self.user_base.lower()}"


@dataclass(frozen=True, slots=True)
class OidcSource:
    """An OpenID provider. `name_claim` and `groups_claim` are claims of the ID token, or of the userinfo endpoint."""

    issuer: str
    client_id: str
    label: str = "Single sign-on"
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    scopes: tuple[str, ...] = ("openid", "profile", "email", "groups")
    authority: str = ""
    client_secret: str = field(default="", repr=False)

    @property
    def identity(self) -> str:
        """Return what names the source, as above."""
        return f"oidc {self.issuer}"

    @property
    def discovery(self) -> str:
        """Return the address of the provider's description of itself."""
        return f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Directory:
    """The source, the roles that each of its groups gives, and the names that no user of the source may take.

    `session_s` is how long somebody stays logged in without a new confirmation of the source.
    """

    source: LdapSource | OidcSource
    groups: Mapping[str, tuple[str, ...]]
    local: frozenset[str] = frozenset()
    session_s: int = 3600

    def find_roles(self, groups: Iterable[DirectoryGroup]) -> frozenset[str]:
        """Return the roles of somebody who is in these groups."""
        known = {fold(name): roles for name, roles in self.groups.items()}
        return frozenset(role for one in groups for name in one.names for role in known.get(fold(name), ()))

    def to_text(self) -> str:
        """Return it as JSON, with the secrets."""
        kind = "ldap" if isinstance(self.source, LdapSource) else "oidc"
        body = {
            kind: asdict(self.source),
            "groups": {name: list(roles) for name, roles in self.groups.items()},
            "local": sorted(self.local),
            "session_s": self.session_s,
        }
        return json.dumps(body, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Directory:
        """Return what `to_text` wrote.

        Raises:
            ValueError: It is no such text.
        """
        try:
            body: dict[str, Any] = json.loads(text)
            source: LdapSource | OidcSource
            if found := body.get("ldap"):
                source = LdapSource(**{**found, "urls": tuple(found["urls"])})
            else:
                found = body["oidc"]
                source = OidcSource(**{**found, "scopes": tuple(found["scopes"])})
            groups = {name: tuple(roles) for name, roles in body["groups"].items()}
            return cls(source, groups, frozenset(body["local"]), int(body["session_s"]))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"this describes no directory: {type(error).__name__}") from None


@dataclass(frozen=True, slots=True)
class DirectoryGroup:
    """A group of the source. Either of its names may be in fleet.yaml: the whole DN, or the name alone."""

    name: str
    dn: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Return all of its names. Whoever may make a group could name it by the DN of another one."""
        if self.dn and "=" in self.name:
            return (self.dn,)
        return (self.name, self.dn) if self.dn else (self.name,)


@dataclass(frozen=True, slots=True)
class DirectoryUser:
    """A user as the source knows it. `subject` stays the same for one person, and is never that of another."""

    name: str
    subject: str
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    groups: tuple[DirectoryGroup, ...] = ()


def fold(name: str) -> str:
    """Return the name of a group as it is compared: directories do not tell upper from lower case."""
    return ",".join(part.strip() for part in name.split(",")).casefold()


@dataclass(frozen=True, slots=True)
class CheckStep:
    """One step of the self-test: what was done, and if it failed, what is wrong and what to do."""

    what: str
    is_done: bool
    detail: str = ""
    hint: str = ""

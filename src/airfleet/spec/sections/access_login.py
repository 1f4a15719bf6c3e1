"""The part `access.login` of fleet.yaml: a directory (LDAP) or an OpenID provider that knows the users."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from airfleet.spec.access_login import AccessLogin
from airfleet.spec.sections.references import Reference
from airfleet.spec.sections.section import Section, rule, shaped
from airfleet_provider.contract.directory import LdapSource, OidcSource


def _server(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("ldaps", "ldap") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or parts.path.strip("/") or parts.query or parts.username:
        raise rule(f"{url!r} is no directory server", "write ldaps://ldap.example.com, or ldap:// for StartTLS")
    return url


def _issuer(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme == "https" and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        is_good = False
    if not is_good:
        raise rule(f"{url!r} is no issuer", "write https://… as the provider's discovery document has `issuer`")
    return url


def _filter(text: str) -> str:
    if not (text.startswith("(") and text.endswith(")")) or text.count("(") != text.count(")"):
        raise rule(f"{text!r} is no filter of LDAP", "write it with its parentheses: (objectClass=person)")
    return text


Dn = Annotated[str, *shaped(r"[^\x00-\x1f]*=[^\x00-\x1f]+", "a DN such as ou=people,dc=example,dc=com")]
LdapAttribute = Annotated[
    str, *shaped(r"[A-Za-z][A-Za-z0-9-]*(:[0-9.]+:)?", "the name of an attribute, with a matching rule if need be")
]
Authority = Annotated[str, Field(min_length=1)] | None
AUTHORITY = "The file with the certificates to trust, relative to the project, in place of the system's."
Minutes = Annotated[int, Field(ge=10, le=1440)]


class LdapBindSection(Section):
    """The service account that searches for users. It needs the right to read users and groups, and no other."""

    dn: Dn = Field(description="The DN of the account.", examples=["cn=airflow,ou=services,dc=example,dc=com"])
    password: Reference = Field(
        description="A reference to the password of the account.", examples=[{"env": "LDAP_PASSWORD"}]
    )


class LdapUsersSection(Section):
    """Where users are in the directory."""

    base: Dn = Field(description="The entry below which users are.", examples=["ou=people,dc=example,dc=com"])
    name: LdapAttribute = Field(
        default="uid", description="The attribute with the user name; sAMAccountName in Active Directory."
    )
    filter: Annotated[str, AfterValidator(_filter)] = Field(
        default="(objectClass=person)",
        description="What an entry must fit to be a user. Somebody whom it no longer fits loses all sessions. In "
        "Active Directory, accounts that are disabled or have expired count as gone in any case.",
    )


class LdapGroupsSection(Section):
    """Where groups are in the directory. A group elsewhere gives no role, whatever its name is."""

    base: Dn = Field(description="The entry below which groups are.", examples=["ou=groups,dc=example,dc=com"])
    member: LdapAttribute = Field(
        default="member",
        description="The attribute with the DNs of members, or memberUid for their names. For groups in groups of "
        "Active Directory, member:1.2.840.113556.1.4.1941:",
    )


class LdapSection(Section):
    """A directory. Connections are always encrypted and certificates verified."""

    urls: Annotated[list[Annotated[str, AfterValidator(_server)]], Field(min_length=1)] = Field(
        description="The servers: ldaps://HOST, or ldap://HOST for StartTLS. The first that answers is asked.",
        examples=[["ldaps://ldap1.example.com", "ldaps://ldap2.example.com"]],
    )
    bind: LdapBindSection = Field(description="The service account.", examples=[{"dn": "cn=airflow,dc=example"}])
    users: LdapUsersSection = Field(description="Where users are.", examples=[{"base": "ou=people,dc=example,dc=com"}])
    groups: LdapGroupsSection = Field(
        description="Where groups are.", examples=[{"base": "ou=groups,dc=example,dc=com"}]
    )
    authority: Authority = Field(default=None, description=AUTHORITY, examples=["ssl/directory-ca.pem"])
    offline_minutes: Minutes = Field(
        default=60, description="How long sessions live on while no server of the directory answers."
    )


class OidcSection(Section):
    """An OpenID provider, such as Keycloak, Entra ID, Okta, Google or Dex."""

    issuer: Annotated[str, AfterValidator(_issuer)] = Field(
        description="The URL of the provider, as its discovery document has it.",
        examples=["https://login.example.com/realms/data"],
    )
    client: Annotated[str, Field(min_length=1)] = Field(
        description="The id of the client that stands for this platform.", examples=["airflow"]
    )
    secret: Reference = Field(description="A reference to the secret of the client.", examples=[{"env": "OIDC_SECRET"}])
    name_claim: Annotated[str, Field(min_length=1)] = Field(
        default="preferred_username", description="The claim with the user name."
    )
    groups_claim: Annotated[str, Field(min_length=1)] = Field(
        default="groups", description="The claim with the names of the user's groups."
    )
    scopes: list[Annotated[str, Field(min_length=1)]] = Field(
        default=["openid", "profile", "email", "groups"],
        description="What the provider is asked for. Leave `groups` out if the provider refuses it.",
    )
    label: Annotated[str, Field(min_length=1, max_length=60)] = Field(
        default="Single sign-on", description="The words on the button of the sign-in page."
    )
    authority: Authority = Field(default=None, description=AUTHORITY, examples=["ssl/login-ca.pem"])
    session_minutes: Minutes = Field(
        default=60, description="How long a session lives. After it the browser asks the provider again."
    )

    @model_validator(mode="after")
    def _asks_for_a_token(self) -> OidcSection:
        if "openid" not in self.scopes:
            raise rule("without the scope `openid` the provider sends no ID token", "add it to `scopes`")
        return self


class AccessLoginSection(Section):
    """Where users are who are not in fleet.yaml. Users of fleet.yaml, and `admin`, always log in by their password."""

    ldap: LdapSection | None = Field(default=None, description="A directory.", examples=[{}])
    oidc: OidcSection | None = Field(default=None, description="An OpenID provider.", examples=[{}])

    @model_validator(mode="after")
    def _one_source(self) -> AccessLoginSection:
        if (self.ldap is None) == (self.oidc is None):
            raise rule("`login` names exactly one of ldap and oidc", "write one of them")
        return self


def convert(written: AccessLoginSection) -> AccessLogin:
    """Return the section as a plain value."""
    if (ldap := written.ldap) is not None:
        directory = LdapSource(
            urls=tuple(ldap.urls),
            bind_dn=ldap.bind.dn,
            user_base=ldap.users.base,
            group_base=ldap.groups.base,
            name_attribute=ldap.users.name,
            user_filter=ldap.users.filter,
            member=ldap.groups.member,
        )
        password, where = ldap.bind.password.convert(), "access.login.ldap.bind.password"
        return AccessLogin(directory, password, where, ldap.authority or "", ldap.offline_minutes * 60)
    oidc = written.oidc
    assert oidc is not None  # noqa: S101 - the model has refused anything else
    provider = OidcSource(
        issuer=oidc.issuer,
        client_id=oidc.client,
        label=oidc.label,
        name_claim=oidc.name_claim,
        groups_claim=oidc.groups_claim,
        scopes=tuple(oidc.scopes),
    )
    return AccessLogin(
        provider, oidc.secret.convert(), "access.login.oidc.secret", oidc.authority or "", oidc.session_minutes * 60
    )

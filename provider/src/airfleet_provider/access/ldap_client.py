"""A directory (LDAP) as its own service account sees it, and the check of a user's password.

The login, the confirmation of users and the self-test all use this module.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import ldap3
from ldap3.core import exceptions as ldap_errors
from ldap3.utils.conv import escape_bytes, escape_filter_chars
from ldap3.utils.dn import parse_dn

from airfleet_provider.access import ad_account
from airfleet_provider.access.ad_account import AccountObstacle
from airfleet_provider.access.directory_errors import DirectoryError, UnclearUserError, describe_network
from airfleet_provider.contract.directory import DirectoryGroup, DirectoryUser, LdapSource
from airfleet_provider.contract.text import one_line

log = logging.getLogger(__name__)

CONNECT_S, ANSWER_S = 5, 10
# Attributes that stay the same for one person: OpenLDAP and 389 have the first, Active Directory the second.
IDENTITIES = ("entryUUID", "nsUniqueId", "objectGUID")
# Active Directory sends at most so many entries at once, and nobody is in more groups.
MOST_GROUPS = 1000
BY_NAME = "memberuid"


class LdapClient:
    """Asks the first server that answers. Every method raises DirectoryError if the directory cannot say."""

    def __init__(self, source: LdapSource, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock

    @contextlib.contextmanager
    def open(self) -> Iterator[LdapSession]:
        """Yield a session of the service account."""
        with self._connect(self._source.bind_dn, self._source.bind_password) as connection:
            yield LdapSession(self._source, connection, self._clock)

    def check_password(self, dn: str, password: str) -> bool:
        """Return whether this is the password of an entry. An empty one never is, whatever the server says."""
        if not password or "\0" in password:
            return False
        try:
            with self._connect(dn, password):
                return True
        except WrongPasswordError as error:
            if error.why:
                # The answer to whoever logs in is the same as to a wrong password.
                log.warning("the directory refuses %s: %s", one_line(dn), error.why)
            return False

    @contextlib.contextmanager
    def _connect(self, dn: str, password: str) -> Iterator[Any]:
        connection = self._open(dn, password)
        try:
            yield connection
        except ldap_errors.LDAPExceptionError as error:
            raise describe(error, self._source, str(connection.server.host)) from None
        finally:
            with contextlib.suppress(Exception):
                connection.unbind()

    def _open(self, dn: str, password: str) -> Any:  # noqa: ANN401 - ldap3 has no types
        last: DirectoryError | None = None
        for url in self._source.urls:
            try:
                return self._open_one(url, dn, password)
            except WrongPasswordError:
                raise  # another server has the same users
            except DirectoryError as error:
                last = last or error
        raise last or DirectoryError("no server is named")

    def _open_one(self, url: str, dn: str, password: str) -> Any:  # noqa: ANN401 - as above
        tls = VerifiedTls(validate=ssl.CERT_REQUIRED, ca_certs_data=self._source.authority or None)
        server = ldap3.Server(url, tls=tls, get_info=ldap3.NONE, connect_timeout=CONNECT_S)
        connection = ldap3.Connection(
            server,
            user=dn,
            password=password,
            receive_timeout=ANSWER_S,
            read_only=True,
            raise_exceptions=True,
            auto_referrals=False,
            check_names=False,
        )
        place = f"{server.host}:{server.port}"
        try:
            connection.open(read_server_info=False)
            if not server.ssl:
                connection.start_tls(read_server_info=False)
        except (ldap_errors.LDAPException, OSError, ValueError) as error:
            raise describe_network(error, place) from None
        if not _is_encrypted(connection):
            raise DirectoryError(f"{place}: the connection is not encrypted", "let the server offer StartTLS")
        try:
            connection.bind(read_server_info=False)
        except ldap_errors.LDAPException as error:
            with contextlib.suppress(Exception):
                connection.unbind()
            raise describe(error, self._source, place) from None
        return connection


class VerifiedTls(ldap3.Tls):  # type: ignore[misc]  # as above
    """Lets Python compare the name in the certificate; ldap3 has a function of its own for it, which is old."""

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:  # noqa: ANN401 - as above
        """Encrypt the connection, and refuse a certificate that is not the server's."""
        context = ssl.create_default_context(cadata=self.ca_certs_data)
        connection.socket = context.wrap_socket(connection.socket, server_hostname=connection.server.host)


class WrongPasswordError(DirectoryError):
    """The directory does not know the pair of DN and password, or it says `why` the account may not log in."""

    def __init__(self, what: str, hint: str = "", why: str = "") -> None:
        super().__init__(what, hint)
        self.why = why


class LdapSession:
    """Searches with the rights of the service account."""

    def __init__(
        self,
        source: LdapSource,
        connection: Any,  # noqa: ANN401 - as above
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._connection = connection
        self._clock = clock

    def find(self, name: str) -> tuple[str, DirectoryUser] | None:
        """Return the DN of a user and what the directory knows of it, or None if there is no such user.

        An account of Active Directory that has expired or is disabled is none, whatever the filter of users says.

        Raises:
            DirectoryError: There is more than one, or the directory does not answer.
        """
        attribute = self._source.name_attribute
        wanted = f"(&{self._source.user_filter}({attribute}={escape_filter_chars(name)}))"
        named = (attribute, "mail", "givenName", "sn", "cn", *IDENTITIES, *ad_account.ATTRIBUTES)
        found = self._search(self._source.user_base, wanted, named, 2)
        if not found:
            return None
        if len(found) > 1:
            raise UnclearUserError(
                f"{len(found)} entries below {self._source.user_base} have {attribute}={name}",
                "narrow users.base or users.filter",
            )
        entry = found[0]
        if (obstacle := self._judge(entry)) and obstacle.ends:
            return None
        values = entry["attributes"]
        names = [one for one in _texts(values, attribute) if one.casefold() == name.casefold()]
        if not names:
            return None
        first, last = _text(values, "givenName"), _text(values, "sn") or _text(values, "cn")
        # Servers compare values of memberUid letter by letter: it is the name of the entry that counts.
        groups = self._find_groups(entry, names[0])
        user = DirectoryUser(names[0].lower(), _find_subject(entry), _text(values, "mail"), first, last, groups)
        return str(entry["dn"]), user

    def find_obstacle(self, name: str) -> AccountObstacle | None:
        """Return what keeps an account from being used, if Active Directory says so. The filter does not count."""
        wanted = f"({self._source.name_attribute}={escape_filter_chars(name)})"
        found = self._search(self._source.user_base, wanted, ad_account.ATTRIBUTES, 2)
        return self._judge(found[0]) if len(found) == 1 else None

    def _judge(self, entry: Any) -> AccountObstacle | None:  # noqa: ANN401 - as above
        return ad_account.find_obstacle(entry["raw_attributes"], self._clock())

    def count_users(self) -> int:
        """Return how many users the filter fits, 2 at most: none is a wrong base, filter or right to read."""
        wanted = f"(&{self._source.user_filter}({self._source.name_attribute}=*))"
        return len(self._search(self._source.user_base, wanted, (self._source.name_attribute,), 2))

    def check_groups(self) -> None:
        """Look at the base of the groups; raises DirectoryError if there is no such entry."""
        self._search(self._source.group_base, "(objectClass=*)", ("1.1",), 1, ldap3.BASE)

    def _find_groups(self, entry: Any, name: str) -> tuple[DirectoryGroup, ...]:  # noqa: ANN401 - as above
        member = self._source.member
        value = name if member.lower() == BY_NAME else str(entry["dn"])
        wanted = f"({member}={escape_filter_chars(value)})"
        if primary := ad_account.find_primary_group(entry["raw_attributes"]):
            wanted = f"(|{wanted}(objectSid={escape_bytes(primary)}))"
        found = self._search(self._source.group_base, wanted, ("cn",), MOST_GROUPS)
        return tuple(
            DirectoryGroup(_text(one["attributes"], "cn") or _head(one["dn"]), str(one["dn"])) for one in found
        )

    def _search(
        self, base: str, wanted: str, attributes: tuple[str, ...], most: int, scope: str = ldap3.SUBTREE
    ) -> list[Any]:
        try:
            self._connection.search(base, wanted, scope, attributes=list(attributes), size_limit=most)
        except ldap_errors.LDAPSizeLimitExceededResult:
            if most > 2:
                raise UnclearUserError(f"the user is in more than {most} groups", "narrow groups.base") from None
        except ldap_errors.LDAPNoSuchObjectResult:
            raise DirectoryError(f"there is no entry {base}", "correct the DN: this base does not exist") from None
        except (ldap_errors.LDAPInvalidFilterError, ldap_errors.LDAPInvalidDNSyntaxResult) as error:
            raise DirectoryError(f"the directory does not understand {wanted} below {base}", str(error)) from None
        except ldap_errors.LDAPException as error:
            raise describe(error, self._source, str(self._connection.server.host)) from None
        response = self._connection.response or []
        return [one for one in response if one.get("type") == "searchResEntry"]


def describe(error: Exception, source: LdapSource, place: str) -> DirectoryError:
    """Return what a refusal of the directory means."""
    if isinstance(error, ldap_errors.LDAPInvalidCredentialsResult | ldap_errors.LDAPPasswordIsMandatoryError):
        if why := ad_account.explain_refusal(str(getattr(error, "message", ""))):
            what = f"{place}: the account {source.bind_dn} is refused: {why}"
            return WrongPasswordError(what, "mend the account in Active Directory", why)
        hint = f"try it: ldapwhoami -H {source.urls[0]} -x -W -D '{source.bind_dn}'"
        return WrongPasswordError(f"{place}: wrong DN or password of {source.bind_dn}", hint)
    if isinstance(error, ldap_errors.LDAPInvalidDNSyntaxResult | ldap_errors.LDAPInvalidDnError):
        return DirectoryError(f"{place}: {source.bind_dn} is no DN", "write it like cn=airflow,ou=services,dc=example")
    if isinstance(error, ldap_errors.LDAPInsufficientAccessRightsResult):
        return DirectoryError(f"{place}: {source.bind_dn} may not read this", "let it read users and groups")
    if isinstance(error, ldap_errors.LDAPCommunicationError):
        return describe_network(error, place)
    text = getattr(error, "description", "") or str(error) or type(error).__name__
    return DirectoryError(f"{place}: the directory refused: {text}", "look at the log of the directory")


def _is_encrypted(connection: Any) -> bool:  # noqa: ANN401 - as above
    return isinstance(connection.socket, ssl.SSLSocket)


def _find_subject(entry: Any) -> str:  # noqa: ANN401 - as above
    raw = entry["raw_attributes"]
    for name in IDENTITIES:
        if values := raw.get(name):
            value = bytes(values[0])
            # Active Directory sends the 16 bytes themselves.
            return str(uuid.UUID(bytes_le=value)) if name == "objectGUID" and len(value) == 16 else value.decode()
    return str(entry["dn"]).casefold()


def _texts(values: Any, name: str) -> list[str]:  # noqa: ANN401 - as above
    found = values.get(name) or []
    return [str(one) for one in (found if isinstance(found, list) else [found])]


def _text(values: Any, name: str) -> str:  # noqa: ANN401 - as above
    return next(iter(_texts(values, name)), "")


def _head(dn: str) -> str:
    return str(parse_dn(dn)[0][1])

"""The certificate authority of one fleet, and the certificates that it issues for the hosts.

Both stay on the control machine. A host gets its own key and the certificates of the authorities that it trusts.
The form of certificates is RFC 5280's; clients compare names with the alternative names only (RFC 6125).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from airfleet.components.host_model import HostCertificate
from airfleet.errors import AirfleetError
from airfleet.spec.secrets import Secret

AUTHORITY_LIFE = timedelta(days=20 * 365)
HOST_LIFE = timedelta(days=730)
# An apply renews a certificate of which less is left. So after every apply, all certificates last for at least so long.
RENEWED_BELOW = HOST_LIFE * 2 / 3
# Where less is left, nobody has run an apply for long, and people are told.
TOLD_BELOW = HOST_LIFE / 3
# A host whose clock is behind the control machine's by less than this accepts a new certificate.
BACKDATED = timedelta(days=2)
LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Authority:
    """A private key that signs, and its certificate, which hosts trust."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate alone, which is no secret."""
        return self.certificate.public_bytes(Encoding.PEM).decode()


def create(fleet: str, now: datetime) -> Secret:
    """Return the key and the certificate of a new authority in one PEM text. The key is elliptic, on P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"airfleet {fleet}"[:64]),
            # Two authorities of one fleet, as there are during a rotation, have different names.
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{x509.random_serial_number():x}"),
        ]
    )
    certificate = (
        _begin(name, name, key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_allow(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Secret(f"{_render_key(key)}{certificate.public_bytes(Encoding.PEM).decode()}")


def load(text: Secret, *, where: str) -> Authority:
    """Return the authority in a PEM text that `create` made. Raises AirfleetError if it is another text."""
    try:
        body = text.reveal().encode()
        key = serialization.load_pem_private_key(body, password=None)
        certificate = x509.load_pem_x509_certificate(body)
    except ValueError:
        raise _unusable(where) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise _unusable(where)
    return Authority(certificate, key)


def issue(authority: Authority, host: str, names: Iterable[str], now: datetime) -> HostCertificate:
    """Return a new key and certificate for one host, valid for all `names` and on the loopback, for HOST_LIFE."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    alternatives = _list_names(host, names)
    certificate = (
        _begin(subject, authority.certificate.subject, key.public_key(), now, HOST_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_allow(signs=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return HostCertificate(certificate.public_bytes(Encoding.PEM).decode(), Secret(_render_key(key)))


def is_due(held: HostCertificate, authority: Authority, host: str, names: Iterable[str], now: datetime) -> bool:
    """Whether a host needs another certificate: for another authority or name, or below RENEWED_BELOW."""
    try:
        certificate = x509.load_pem_x509_certificate(held.certificate.encode())
        certificate.verify_directly_issued_by(authority.certificate)
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:
        return True
    return set(alternatives) != set(_list_names(host, names)) or certificate.not_valid_after_utc - now < RENEWED_BELOW


def find_end(certificate: str) -> datetime:
    """Return when a certificate in PEM ends."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    begin = now.astimezone(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - BACKDATED)
        .not_valid_after(begin + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _allow(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _list_names(host: str, names: Iterable[str]) -> list[x509.GeneralName]:
    """Return the names in a host's certificate.

    An address is there as a DNS name too: Erlang's nodes look for the part of a node's name behind the `@` among these
    names only, also if that part is an address.
    """
    listed = tuple(names)
    return list(dict.fromkeys([*map(_name, (host, *listed, *LOOPBACK)), *map(x509.DNSName, listed)]))


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _render_key(key: ec.EllipticCurvePrivateKey) -> str:
    private = key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.decode()


def _unusable(where: str) -> AirfleetError:
    return AirfleetError(
        "this file does not hold the key and the certificate of the fleet's authority",
        where=where,
        hint="put it back from a copy of the state folder; if there is none, remove it, and apply makes another one",
    )

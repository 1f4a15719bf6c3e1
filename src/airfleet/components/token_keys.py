"""The key pairs that sign the tokens of users and of tasks. Who checks a token has public keys alone (ADR 105).

Both private keys are derived from the secret `jwt_key`. Until a fleet of an earlier version has learned the keys, that
secret is empty, and the secret `jwt_secret`, which all servers share, signs tokens.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airfleet.components import api_server, execution_api, scheduler
from airfleet.components.model import Component, Credentials, Setting
from airfleet.spec.secrets import Secret, by_login, list_accepted
from airfleet_provider.contract import notification_policy

# The file below Airflow's folder with what checks links in messages.
LINKS = "link_keys.json"
# Airflow reads keys from the files that these variables name. Processes that neither sign nor check have none of them.
PRIVATE_VARIABLE = "AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH"
PUBLIC_VARIABLE = "AIRFLOW__API_AUTH__TRUSTED_JWKS_URL"
# Airflow's name of a key that has no name.
UNNAMED_KEY = "not-used"


class TokenUse(enum.StrEnum):
    """Whom a token is for. Each use has a key pair of its own, so a scheduler host cannot make a token of a user."""

    USER = "user"
    TASK = "task"

    @property
    def private(self) -> str:
        """Return the name of the file with the private key."""
        return f"{self}_key.pem"

    @property
    def public(self) -> str:
        """Return the name of the file with the keys that check tokens."""
        return f"{self}_keys.json"


def find_signed(process: str) -> TokenUse | None:
    """Return which tokens a process of this name makes: of users, or of tasks that run or that it sends."""
    if process == api_server.NAME:
        return TokenUse.USER
    # There may be several schedulers.
    is_of_tasks = process == execution_api.NAME or process.partition("-")[0] == scheduler.NAME
    return TokenUse.TASK if is_of_tasks else None


def find_checked(process: str) -> TokenUse | None:
    """Return which tokens a process of this name checks. It checks those that it makes itself, and of the same use."""
    return find_signed(process) if process in (api_server.NAME, execution_api.NAME) else None


def list_variables(process: str, folder: Path, credentials: Credentials) -> dict[str, str]:
    """Return the environment by which a process of this name finds its keys in a folder."""
    signed, checked = find_signed(process), find_checked(process)
    return {
        **({PRIVATE_VARIABLE: str(folder / signed.private)} if signed and is_used(credentials) else {}),
        **({PUBLIC_VARIABLE: str(folder / checked.public)} if checked else {}),
    }


def is_used(credentials: Credentials) -> bool:
    """Return whether the private keys sign tokens now."""
    return bool(credentials.jwt_key.reveal())


def render_private(key: Secret, use: TokenUse) -> Secret:
    """Return the private key of this value of the secret, in PEM."""
    words = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    return Secret(_derive(key, use).private_bytes(*words).decode())


def render_keys(credentials: Credentials, use: TokenUse) -> Secret:
    """Return the keys that check tokens, as a JSON Web Key Set.

    It holds public keys alone, once every host has the key pairs.
    """
    keys = {name_key(one, use): one for one in list_accepted(credentials.jwt_key) if one.reveal()}
    pairs = [{**_describe(keys[name], use), "alg": "EdDSA", "use": "sig", "kid": name} for name in sorted(keys)]
    is_complete = all(one.reveal() for one in list_accepted(credentials.jwt_key))
    shared = [] if is_complete else list(_list_shared(credentials.jwt_secret))
    return Secret(json.dumps({"keys": [*pairs, *shared]}, indent=1) + "\n")


def render_links(credentials: Credentials) -> Secret:
    """Return the keys that may have signed a link in a message, in JSON. During a rotation there are several."""
    accepted = by_login("", credentials.jwt_secret).values()
    return Secret(json.dumps([notification_policy.derive_link_key(one.reveal()) for one in accepted], indent=1) + "\n")


def list_settings(credentials: Credentials, folder: Path) -> tuple[Setting, ...]:
    """Return the settings of all processes. `folder` has the files with keys."""
    shared = name_shared(credentials.jwt_secret)
    return (
        Setting(
            "api_auth",
            "jwt_secret",
            credentials.jwt_secret.reveal(),
            "keys of cookies, links, log searches and the audit log are derived from it; it signs no token",
        ),
        # Airflow names a private key by its digest.
        *(() if is_used(credentials) else (Setting("api_auth", "jwt_kid", shared, "says which key signed a token"),)),
        Setting("airfleet", "link_keys", str(folder / LINKS), "links in messages work during a rotation"),
    )


def give(components: Iterable[Component], folder: Path, credentials: Credentials) -> tuple[Component, ...]:
    """Return components whose processes find their keys in a folder."""
    return tuple(
        replace(
            one,
            processes=tuple(
                replace(process, env={**process.env, **list_variables(process.name, folder, credentials)})
                for process in one.processes
            ),
        )
        for one in components
    )


def name_key(key: Secret, use: TokenUse) -> str:
    """Return the name of a key pair: the digest of its public key by RFC 7638, as Airflow names it in each token."""
    text = json.dumps(_describe(key, use), separators=(",", ":"), sort_keys=True)
    return _encode(hashlib.sha256(text.encode()).digest())


def name_shared(key: Secret) -> str:
    """Return the name of a shared secret for the tokens that it signs. The name does not reveal the secret."""
    return hashlib.sha256(f"airfleet key {key.reveal()}".encode()).hexdigest()[:16]


def _derive(key: Secret, use: TokenUse) -> Ed25519PrivateKey:
    seed = hashlib.sha256(f"airfleet signs tokens of a {use}\0{key.reveal()}".encode()).digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


def _describe(key: Secret, use: TokenUse) -> dict[str, str]:
    return {"crv": "Ed25519", "kty": "OKP", "x": _encode(_derive(key, use).public_key().public_bytes_raw())}


def _list_shared(key: Secret) -> Iterable[dict[str, str]]:
    """Yield the shared secrets as keys. Tokens of the earliest versions do not name theirs."""
    accepted = sorted(((name_shared(one), one) for one in list_accepted(key)), key=lambda pair: pair[0])
    oldest = next(iter(by_login("", key).values()))
    for name, one in (*accepted, (UNNAMED_KEY, oldest)):
        yield {"kty": "oct", "alg": "HS512", "kid": name, "k": _encode(one.reveal().encode())}


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")

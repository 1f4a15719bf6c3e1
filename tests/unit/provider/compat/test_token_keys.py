"""Tokens are signed by a private key and checked by public keys, in each step of a rotation, by Airflow's own code."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import jwt
import pytest
from airflow.api_fastapi.auth.tokens import JWTGenerator, JWTValidator, get_sig_validation_args, get_signing_args

from airfleet.components import settings, token_keys
from airfleet.components.model import Credentials
from airfleet.components.token_keys import TokenUse
from airfleet.spec import load
from airfleet.spec.secrets import Rotating, Secret
from airfleet.workspace.rotation import RotatedSecret, introduce, notice
from one_site import CREDENTIALS, SITE
from rotations import show_steps, walk

AUDIENCE = "urn:airflow.apache.org:task"
SECTION = "AIRFLOW__API_AUTH__"
SHARED = Secret("shared " * 10)
# Who makes a token, and who checks it.
PATHS = (("scheduler", "execution-api"), ("execution-api", "execution-api"), ("api-server", "api-server"))


@dataclass(frozen=True, slots=True)
class TokenSite:
    """The processes of a platform in one step of a rotation."""

    folder: Path
    credentials: Credentials
    patch: pytest.MonkeyPatch

    def sign(self, process: str = "scheduler") -> str:
        """Return a token as a process makes it."""
        self._configure(process)
        made = JWTGenerator(audience=AUDIENCE, valid_for=600, **get_signing_args(make_secret_key_if_needed=False))
        return str(made.generate({"sub": "somebody"}))

    def accepts(self, token: str, process: str = "execution-api") -> bool:
        """Return whether a process accepts a token."""
        self._configure(process)
        checks = JWTValidator(audience=AUDIENCE, leeway=0, **get_sig_validation_args())
        try:
            claims = asyncio.run(checks.avalidated_claims(token))
        except jwt.InvalidTokenError:
            return False
        return bool(claims["sub"] == "somebody")

    def _configure(self, process: str) -> None:
        """Let Airflow find here what it finds in a process of this name."""
        for use in TokenUse:
            (self.folder / use.public).write_text(token_keys.render_keys(self.credentials, use).reveal())
            if token_keys.is_used(self.credentials):
                key = token_keys.render_private(self.credentials.jwt_key, use)
                (self.folder / use.private).write_text(key.reveal())
        for name in (token_keys.PRIVATE_VARIABLE, token_keys.PUBLIC_VARIABLE, f"{SECTION}JWT_KID"):
            self.patch.delenv(name, raising=False)
        for one in token_keys.list_settings(self.credentials, self.folder):
            if one.section == "api_auth":
                self.patch.setenv(f"{SECTION}{one.key.upper()}", one.value)
        for name, value in token_keys.list_variables(process, self.folder, self.credentials).items():
            self.patch.setenv(name, value)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Rotating], TokenSite]:
    made = itertools.count()

    def make(key: Rotating) -> TokenSite:
        folder = tmp_path / str(next(made))
        folder.mkdir()
        return TokenSite(folder, replace(CREDENTIALS, jwt_key=key, jwt_secret=SHARED), monkeypatch)

    return make


def introduce_one() -> Iterator[Rotating]:
    """Yield the key of a fleet of an earlier version before it has one, and in each step to the pair."""
    yield Rotating("")
    yield from show_steps(introduce(Secret("first")))


def rotate_while_introduced() -> Iterator[Rotating]:
    """Yield the key in each step if a second one is asked for before every host has learned the first."""
    entry: RotatedSecret = notice(introduce(Secret("first")), Secret("second"))
    yield from show_steps(entry)


@pytest.mark.parametrize("steps", [introduce_one, rotate_while_introduced, lambda: walk("first", "second")])
def test_hosts_in_neighbouring_steps_accept_each_other_s_tokens_and_the_last_step_no_former_one(
    site: Callable[[Rotating], TokenSite], steps: Callable[[], Iterator[Rotating]]
) -> None:
    sites = [site(key) for key in steps()]
    tokens = [[one.sign(makes) for makes, _ in PATHS] for one in sites]
    for number, checker in enumerate(sites):
        for neighbour in tokens[max(0, number - 1) : number + 2]:
            for token, (_, checks) in zip(neighbour, PATHS, strict=True):
                assert checker.accepts(token, checks)
    for token, (_, checks) in zip(tokens[0], PATHS, strict=True):
        assert not sites[-1].accepts(token, checks)


def test_a_scheduler_host_can_make_no_token_of_a_user_and_the_ui_none_of_a_task(
    site: Callable[[Rotating], TokenSite],
) -> None:
    whole = site(Rotating("first"))
    assert not whole.accepts(whole.sign("scheduler"), "api-server")
    assert not whole.accepts(whole.sign("api-server"), "execution-api")
    # The Dag processor and the triggerer run code of Dag files. They have the shared secret alone.
    for name in ("dag-processor", "triggerer"):
        for checks in ("api-server", "execution-api"):
            assert not whole.accepts(whole.sign(name), checks)


def test_who_checks_tokens_holds_nothing_that_signs_them(site: Callable[[Rotating], TokenSite]) -> None:
    whole = site(Rotating("first"))
    [key] = json.loads(token_keys.render_keys(whole.credentials, TokenUse.TASK).reveal())["keys"]
    assert key.keys() == {"kty", "crv", "x", "alg", "use", "kid"}
    shared, name = SHARED.reveal(), key["kid"]
    claims = {**jwt.decode(whole.sign(), options={"verify_signature": False})}
    assert whole.accepts(whole.sign())
    # What a host has that checks: the shared secret, and the public key.
    for known in (shared, key["x"]):
        for kid in (name, token_keys.name_shared(SHARED), token_keys.UNNAMED_KEY):
            assert not whole.accepts(jwt.encode(claims, known, algorithm="HS512", headers={"kid": kid}))
    assert not whole.accepts(jwt.encode(claims, "", algorithm="none", headers={"kid": name}))
    assert not whole.accepts(site(Rotating("another")).sign())


def test_the_shared_secret_may_change_while_the_key_pair_is_introduced(site: Callable[[Rotating], TokenSite]) -> None:
    without = site(Rotating(""))
    first = next(itertools.islice(introduce_one(), 1, 2))
    both = replace(
        without,
        credentials=replace(
            without.credentials,
            jwt_key=first,
            jwt_secret=Rotating("new " * 20, others=(Rotating(SHARED.reveal()),)),
        ),
    )
    assert both.accepts(without.sign())
    unnamed = jwt.encode(
        {**jwt.decode(without.sign(), options={"verify_signature": False})},
        SHARED.reveal(),
        algorithm="HS512",
        headers={"kid": token_keys.UNNAMED_KEY},
    )
    assert both.accepts(unnamed), "tokens of the earliest versions name no key"


@pytest.mark.parametrize(("process", "use"), [("scheduler-2", TokenUse.TASK), ("api-server", TokenUse.USER)])
def test_a_key_is_named_as_airflow_names_it(site: Callable[[Rotating], TokenSite], process: str, use: TokenUse) -> None:
    key = Rotating("first")
    assert jwt.get_unverified_header(site(key).sign(process))["kid"] == token_keys.name_key(key, use)


def test_the_files_of_one_machine_are_its_owner_s_alone() -> None:
    fleet = load.parse("name: one", file="fleet.yaml", default_name="one", cpus=2)
    files = {file.path.name: file for file in settings.describe(fleet, SITE, CREDENTIALS).files}
    names = [token_keys.LINKS, *(name for use in TokenUse for name in (use.private, use.public))]
    assert {files[name].mode for name in names} == {0o600}

"""`airfleet access test` against a certified OpenID provider: what works, and in one line what is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from airfleet_provider.access.directory_check import check
from airfleet_provider.contract.directory import CALLBACK, CheckStep, Directory, OidcSource
from oidc_node import CLIENT, MISSING, NODE, SECRET, OidcNode

pytestmark = pytest.mark.skipif(NODE is None, reason=MISSING)

BASE = "https://fleet.example.com"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcNode]:
    node = OidcNode(tmp_path_factory.mktemp("oidc"), f"{BASE}{CALLBACK}")
    yield node
    node.stop()


@pytest.fixture
def source(provider: OidcNode) -> OidcSource:
    return OidcSource(provider.issuer, CLIENT, client_secret=SECRET, authority=provider.authority)


def ask(source: OidcSource, user: str = "", base: str = BASE, ahead_s: float = 0) -> list[CheckStep]:
    directory = Directory(source, {"analysts": ("Viewer",)})
    return check(directory, user, f"{base}{CALLBACK}", lambda: time.time() + ahead_s)


def test_a_provider_and_a_client_that_fit_pass(source: OidcSource) -> None:
    steps = ask(source, "ann")
    assert [one for one in steps if not one.is_done] == []
    assert "only when ann logs in" in steps[-1].what


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"client_secret": "another secret of the client"}, "refuses the client airflow or its secret"),
        ({"client_id": "nobody"}, "refuses the client nobody"),
        ({"authority": ""}, "no trusted authority"),
        ({"scopes": ("openid", "teams")}, "does not know the scope teams"),
    ],
)
def test_what_is_wrong_is_told(source: OidcSource, change: dict[str, Any], what: str) -> None:
    failed = [one for one in ask(replace(source, **change)) if not one.is_done]
    assert failed
    assert what in failed[0].what
    assert failed[0].hint
    assert "another secret" not in str(failed)


def test_an_issuer_that_is_not_the_providers_own_name_is_told(source: OidcSource) -> None:
    failed = [one for one in ask(replace(source, issuer=f"{source.issuer}/")) if not one.is_done]
    assert "calls itself" in failed[0].what
    failed = [one for one in ask(replace(source, issuer=f"{source.issuer}/realm")) if not one.is_done]
    assert "answers with 404" in failed[0].what


def test_a_redirect_that_is_not_registered_is_told(source: OidcSource) -> None:
    (failed,) = [one for one in ask(source, base="https://elsewhere.example.com") if not one.is_done]
    assert "does not accept https://elsewhere.example.com/auth/oauth-authorized/oidc" in failed.what


def test_a_wrong_clock_is_told(source: OidcSource) -> None:
    (failed,) = [one for one in ask(source, ahead_s=3600) if not one.is_done]
    assert "the clocks differ by" in failed.what
    assert "timedatectl" in failed.hint

"""When a task's token is good, as the clock of whoever made it differs from the one of whoever checks it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import jwt
import pytest
from airflow.api_fastapi.auth.tokens import JWTValidator
from airflow.api_fastapi.execution_api import app
from airflow.configuration import conf

from airfleet_provider.compat.patches import execution_api

SECRET = "a secret of a test, and of nothing else; 64 bytes are asked for it"
TWO_HOURS = 7200


@pytest.fixture
def validator(monkeypatch: pytest.MonkeyPatch) -> JWTValidator:
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", SECRET)
    monkeypatch.setattr(app, "_jwt_validator", app._jwt_validator)
    execution_api.accept_early_tokens()
    return app._jwt_validator()


def check(validator: JWTValidator, *, age_s: float, skew_s: float, secret: str = SECRET) -> dict[str, Any]:
    """What is said of a token that was made so long ago by a clock that is ahead so far."""
    made = int(time.time() - age_s + skew_s)
    audience = conf.get_mandatory_list_value("execution_api", "jwt_audience")[0]
    claims = {"sub": "x", "iat": made, "nbf": made, "exp": made + TWO_HOURS, "aud": audience}
    return asyncio.run(validator.avalidated_claims(jwt.encode(claims, secret, "HS512"), {}))


@pytest.mark.parametrize("skew_s", [-590, -60, 0, 60, 590])
def test_a_new_token_is_good_whatever_the_clock_of_its_maker(validator: JWTValidator, skew_s: int) -> None:
    assert check(validator, age_s=0, skew_s=skew_s)["sub"] == "x"


@pytest.mark.parametrize("age_s", [TWO_HOURS + 61, TWO_HOURS + 500])
def test_none_lasts_longer_than_a_minute_too_long(validator: JWTValidator, age_s: int) -> None:
    assert check(validator, age_s=TWO_HOURS + 30, skew_s=0)
    with pytest.raises(jwt.ExpiredSignatureError):
        check(validator, age_s=age_s, skew_s=0)


def test_one_of_a_later_day_is_not_good_yet(validator: JWTValidator) -> None:
    with pytest.raises(jwt.ImmatureSignatureError):
        check(validator, age_s=0, skew_s=700)


def test_a_forged_one_is_not_good(validator: JWTValidator) -> None:
    with pytest.raises(jwt.InvalidSignatureError):
        check(validator, age_s=0, skew_s=0, secret=SECRET[::-1])

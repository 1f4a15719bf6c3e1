"""What the policies read of their rules is what Airflow reads of the same setting."""

from __future__ import annotations

import pytest

from airfleet_provider.compat.calls import config
from airfleet_provider.contract import breaker_rules, jitter_rules, retry_rules, service_limits

TEXTS = ('{"crm": 1}', "100%%", "$HOME and ~", "", "two\nlines")


def test_it_is_the_same_text_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for rules in (breaker_rules, jitter_rules, retry_rules, service_limits):
        assert config.read_rules(rules.SECTION, rules.KEY) == config.read_setting(rules.SECTION, rules.KEY) == ""
        for text in TEXTS:
            monkeypatch.setenv(f"AIRFLOW__{rules.SECTION}__{rules.KEY}".upper(), text)
            assert config.read_rules(rules.SECTION, rules.KEY) == config.read_setting(rules.SECTION, rules.KEY)


@pytest.mark.parametrize("text", TEXTS)
def test_it_is_the_same_text_from_the_file(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.configuration import conf  # noqa: PLC0415 - as in the code

    if not conf.has_section("airfleet"):
        conf.add_section("airfleet")
    monkeypatch.setitem(conf._sections["airfleet"], "routing", text)
    assert config.read_rules("airfleet", "routing") == config.read_setting("airfleet", "routing")
    monkeypatch.setenv("AIRFLOW__AIRFLEET__ROUTING", "of the environment")
    assert config.read_rules("airfleet", "routing") == "of the environment"

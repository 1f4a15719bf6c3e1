"""The section `tracing` of fleet.yaml: what it means, and that no secret is in it or goes out in clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet.errors import SpecError, UsageError
from airfleet.spec import fleet, load
from airfleet.workspace.project import list_references, resolve_tracing
from airfleet_provider.contract.tracing_policy import TracingPolicy


def parse(*lines: str) -> fleet.Fleet:
    text = "\n".join(["name: flights", "tracing:", *(f"  {line}" for line in lines)])
    return load.parse(text, file="fleet.yaml", default_name="other", cpus=8)


def test_a_collector_with_a_secret_header(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("Bearer abc\n")
    (tmp_path / "token").chmod(0o600)
    headers = "headers: {Authorization: {file: token}, X-Scope-OrgID: data}"
    found = parse("endpoint: https://collector:4318/", headers, "authority: /etc/ca.pem")
    policy = resolve_tracing(found, tmp_path)
    assert policy == TracingPolicy(
        "https://collector:4318/", {"X-Scope-OrgID": "data", "Authorization": "Bearer abc"}, "flights", "/etc/ca.pem"
    )
    assert policy.url == "https://collector:4318/v1/traces"
    assert "abc" not in repr(policy)
    assert TracingPolicy.from_json(policy.to_json()) == policy
    assert [place for place, _ in list_references(found)] == ["tracing.headers.Authorization"]


def test_without_the_section_traces_go_nowhere(tmp_path: Path) -> None:
    assert resolve_tracing(load.parse("", file="fleet.yaml", default_name="x", cpus=1), tmp_path) is None


def test_an_endpoint_may_be_the_whole_url() -> None:
    tracing = parse("endpoint: http://127.0.0.1:4318/otlp/v1/traces", "service: mine").tracing
    assert tracing
    assert (tracing.policy.url, tracing.policy.service) == ("http://127.0.0.1:4318/otlp/v1/traces", "mine")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["endpoint: collector:4318"], "not the URL of a collector"),
        (["endpoint: https://"], "not the URL of a collector"),
        (["endpoint: https://me:hunter2@collector"], "carries a login"),
        (["endpoint: https://collector/?token=hunter2"], "has no query"),
        (["endpoint: https://c", "headers: {Authorization: Bearer hunter2}"], "never holds a secret"),
        (["endpoint: https://c", "headers: {api-key: hunter2}"], "never holds a secret"),
        (["endpoint: https://c", "headers: {X-Auth-Token: hunter2}"], "never holds a secret"),
        (["endpoint: http://collector:4318", "headers: {api-key: {env: KEY}}"], "without encryption"),
        (["endpoint: https://c", "headers: {Content-Type: text/plain}"], "writes the header"),
        (["endpoint: https://c", "headers: {X-A: '1', x-a: '2'}"], "there twice"),
        (["endpoint: https://c", 'headers: {X-A: "1\\r\\nX-B: 2"}'], "no header may have"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_showing_it(lines: list[str], said: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse(*lines)
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_secret_of_two_lines_is_refused_without_showing_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("Bearer hunter2\nX-Admin: 1\n")
    (tmp_path / "token").chmod(0o600)
    found = parse("endpoint: https://collector", "headers: {Authorization: {file: token}}")
    with pytest.raises(UsageError) as refused:
        resolve_tracing(found, tmp_path)
    assert "hunter2" not in str(refused.value)

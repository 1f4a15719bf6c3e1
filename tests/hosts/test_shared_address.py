"""Two balancer hosts with one address, which moves when the host that has it loses its power."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

import httpx
import pytest

from deadline import wait_until
from four import PACKAGES, Four
from machines import Bed, why_not
from machines.image import Recipe, ensure_image

pytestmark = [pytest.mark.hosts, pytest.mark.drill]

ROLES = {
    "app1": "roles: [web, balancer, broker, scheduler, database, worker], pools: [default]",
    "app2": "roles: [web, balancer]",
}
# Decision 65. A busy machine with all hosts on it needs more than hosts of their own.
MOST_S = 5.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Four]:
    if reason := why_not():
        pytest.skip(f"no machines can run here: {reason}")
    with Bed.create(list(ROLES), image=ensure_image(Recipe(fetched=tuple(sorted((*PACKAGES, "keepalived")))))) as bed:
        bed.wait_ready()
        made = Four(tmp_path_factory.mktemp("pair"), bed, ROLES)
        made.write(f"balancer: {{address: {find_address(bed)}}}\n")
        made.do("apply")
        yield made


def find_address(bed: Bed) -> str:
    """Return an address of the bed's network that no machine has."""
    return bed.layout.subnet.replace(".0/24", ".9")


def list_holders(pair: Four) -> list[str]:
    address = find_address(pair.bed)
    on = [name for name in ROLES if pair.bed[name].is_on()]
    return [name for name in on if address in pair.bed[name].run(f"ip -o -4 addr show to {address}").stdout]


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/api/v2/version", timeout=0.3).status_code == 200
    return False


def test_the_address_moves_from_a_host_without_power_and_does_not_return(pair: Four) -> None:
    url = f"http://{find_address(pair.bed)}:8080"
    wait_until(lambda: answers(url), "the UI at the shared address")
    if list_holders(pair) != ["app2"]:
        pair.bed["app1"].run("sudo systemctl restart airfleet-keepalived")
    wait_until(lambda: list_holders(pair) == ["app2"], "app2 has the address")
    status = json.loads(pair.run("status", "--json").stdout)
    assert {"what": f"address {find_address(pair.bed)}", "ok": True, "detail": "at app2"} in status["health"]

    began = time.monotonic()
    pair.bed["app2"].pull_plug()
    wait_until(lambda: answers(url), "the UI at the other balancer", every_s=0.05)
    gap = time.monotonic() - began
    print(f"the address moved in {gap:.2f} s")
    assert list_holders(pair) == ["app1"]
    assert gap < MOST_S

    pair.bed["app2"].power_on()
    pair.bed["app2"].wait_ready()
    wait_until(lambda: pair.run("status").returncode == 0, "all is well again", every_s=2)
    assert list_holders(pair) == ["app1"]


def test_nothing_is_left_to_do_and_nothing_was_refused(pair: Four) -> None:
    assert json.loads(pair.run("plan", "--json").stdout)["changes"] == []
    for name in ROLES:
        log = pair.bed[name].run("sudo journalctl -u airfleet-keepalived --no-pager").stdout
        assert "Operation not permitted" not in log
        assert "Permission denied" not in log


def test_without_the_setting_the_address_is_gone(pair: Four) -> None:
    pair.write()
    pair.do("apply")
    assert list_holders(pair) == []
    wait_until(lambda: answers(f"http://{pair.bed['app1'].address}:8080"), "the UI at app1")

"""What the driver of machines on this computer says of a request that is none."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from deadline import COMMAND_S
from machines.hypervisor import read_request
from machines.system import MachineError

DRIVER = Path(__file__).parents[3] / "tools" / "nspawn-driver"
TAGS = {"airfleet-fleet": "f", "airfleet-key": "k"}
MACHINE = {"name": "a1", "image": "debian-12", "user_data": "", "tags": TAGS}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "contract 1"),
        ('{"contract": 2, "action": "list", "fleet": "f"}', "contract 1"),
        ('{"contract": 1, "action": "make", "fleet": "f"}', "no action make"),
        ('{"contract": 1, "action": ["list"], "fleet": "f"}', "no action"),
        ('{"contract": 1, "action": "list"}', "list needs `fleet`"),
        ('{"contract": 1, "action": "destroy", "fleet": "f", "id": "a1"}', "destroy needs `tags`"),
        ('{"contract": 1, "action": "create", "fleet": "f", "machine": {"name": "a1"}}', "create needs `name`"),
    ],
)
def test_a_request_that_is_none_is_named(text: str, said: str) -> None:
    with pytest.raises(MachineError, match=said):
        read_request(text)


def test_requests_of_the_contract_are_read() -> None:
    for more in (
        {"action": "list"},
        {"action": "destroy", "id": "a1", "tags": TAGS},
        {"action": "create", "machine": MACHINE},
    ):
        request = {"contract": 1, "fleet": "f", **more}
        assert read_request(json.dumps(request)) == request


def test_the_driver_says_in_one_line_what_is_wrong() -> None:
    done = subprocess.run([DRIVER], input="{", capture_output=True, text=True, check=False, timeout=COMMAND_S)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("machines: the request is not JSON")
    assert "Traceback" not in done.stderr

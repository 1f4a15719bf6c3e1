"""Time how fast a machine becomes a host: with a plain image, and with one that `airfleet image build` prepared.

    make bench-images             machines made on this one (root, systemd-nspawn): bench/results/images.json

A fleet is made from nothing, and `airfleet machines apply` is killed on the way. Then two machines join it, one with
each image. Both run tasks of the same pool afterwards.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fleet_from_nothing import PLAIN, FleetFromNothing
from machines import why_not
from machines.hypervisor import plain_recipe
from machines.image import ensure_image

RESULT = Path(__file__).parent / "results" / "images.json"
ROLES = ["web", "scheduler", "database", "broker"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="an image that is built already, for a group `ready`")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if reason := why_not():
        sys.exit(f"bench-images: no machines can run here: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="airfleet-images-"))
    fleet = FleetFromNothing(folder / "project")
    try:
        said = measure(fleet, arguments.image or folder / "image", is_built=bool(arguments.image))
    finally:
        if (fleet.folder / "fleet.yaml").exists():
            fleet.remove()
        shutil.rmtree(folder)
    arguments.output.write_text(json.dumps(said, indent=2) + "\n")


def measure(fleet: FleetFromNothing, image: Path, *, is_built: bool) -> dict[str, object]:
    """Make the fleet, let both machines join, and return the seconds of each step."""
    fleet.start()
    ensure_image(plain_recipe())
    fleet.add("one", PLAIN, roles=ROLES)
    fleet.add("first", PLAIN, pools=["default"])
    seconds: dict[str, float] = {}
    if not is_built:
        base = str(ensure_image(plain_recipe()))
        seconds["image build"] = fleet.time(
            "image", "build", "--output", str(image), "--group", "first", "--base", base
        )
    show(fleet, "machines apply, killed", 0.0)
    fleet.kill_while_machines_are_made(1)
    for name, words in (
        ("machines apply, after it was killed", ("machines", "apply", "--yes")),
        ("apply on empty machines", ("apply", "--accept-new-hosts")),
        ("release deploy", ("release", "deploy", "-m", "first")),
        ("first run", ("run", "hello", "--follow")),
    ):
        if name == "apply on empty machines":
            fleet.take_hosts()
        seconds[name] = fleet.time(*words)
        show(fleet, name, seconds[name])
    made = [one["name"] for one in fleet.list_made()]
    assert sorted(made) == ["first1", "one1"], made
    joins = {name: join(fleet, name, image) for name, image in (("plain", PLAIN), ("ready", str(image)))}
    return {"machine": describe_machine(), "seconds": seconds, "joins": joins}


def join(fleet: FleetFromNothing, name: str, image: str) -> dict[str, Any]:
    """Let one more machine join, and return the seconds until it is up and until it takes tasks, and what took them."""
    fleet.add(name, image, pools=["default"])
    up = fleet.time("machines", "apply", "--yes")
    fleet.take_hosts()
    began = time.monotonic()
    said = json.loads(fleet.do("apply", "--accept-new-hosts", "--json"))
    joined = round(time.monotonic() - began, 1)
    assert f"{name}1" in fleet.do("workers", "list"), "the new host has no worker"
    for what, took in (("up", up), ("joined", joined)):
        show(fleet, f"{name}: {what}", took)
    slow = {f"{one['host']}: {one['what']}": one["seconds"] for one in said["changes"] if one["seconds"] >= 1.0}
    return {"request to up": up, "up to joined": joined, "steps of a second or more": slow}


def describe_machine() -> str:
    cores = subprocess.run(["nproc"], capture_output=True, text=True, check=True).stdout.strip()
    load = Path("/proc/loadavg").read_text().split()[0]
    return f"{cores} cores, shared by all machines; load {load} at the end"


def show(fleet: FleetFromNothing, what: str, seconds: float) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {fleet.folder.parent.name}: {what} {seconds:.1f} s\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

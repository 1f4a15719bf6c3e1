"""Run the whole project once: start the platform, take the shop's API away, mend it, and print what came out.

    python examples/orders/demo.py        in an environment with airfleet, such as .venv of a clone after `make dev`

Exits with 0 only if the breaker opened and closed, no task lost a try to the outage, and every result is there. It may
run again: it runs every day again. The platform stays up: `airfleet down examples/orders` stops it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

PROJECT = Path(__file__).resolve().parent
STATE = PROJECT / ".airfleet"
AIRFLEET = (sys.executable, "-m", "airfleet")
INGEST, MARTS, SCORING, PAYOUTS = "orders_ingest", "orders_marts", "orders_scoring", "orders_payouts"
# From the last to the first: a paused Dag receives no event.
DAGS = (PAYOUTS, SCORING, MARTS, INGEST)
DAYS = 7
PATIENCE_S = 600.0
ENDED = ("success", "failed")
HOARD_MIB = 2000

Json = dict[str, Any]


class DemoError(Exception):
    """What went wrong, for a person."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, help="the port of Airflow's UI, in place of fleet.yaml's")
    arguments = parser.parse_args()
    try:
        with serve_shop():
            run(arguments.port)
    except (DemoError, httpx.HTTPError) as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(1)


def run(port: int | None) -> None:
    """Show the outage, the way back, and the results; raises DemoError where something is not as it should be."""
    url = start_platform(port)
    # A demo before this one left its file.
    (STATE / "orders" / "landing" / "payouts.csv").unlink(missing_ok=True)
    with log_in(url, (STATE / "secrets" / "admin_password").read_text()) as api:
        say("the shop's API answers 503 from now on")
        shop("break", "down")
        wait_until(lambda: all(api.get(f"/dags/{dag}").is_success for dag in DAGS), "the Dags to appear")
        before = read_tries(api)
        begun = start_runs(api)
        wait_until(lambda: read_breaker()["state"] == "open", "the breaker to open")
        say("the breaker is open:")
        show_command("breaker", "list")
        shop("mend")
        say("the shop's API is well again")
        wait_until(lambda: count_ended(api, INGEST, begun) >= DAYS, "the days to be loaded")
        # The tasks that got through close the breaker.
        wait_until(lambda: read_breaker()["state"] == "closed", "the breaker to close")
        say("every day is loaded, and the breaker is closed:")
        show_command("breaker", "list", "--events", "20")
        show_tries(api, before)
        wait_for_marts(api, begun)
        say("the marts are published; the bank's file is still missing, and its sensor waits without a process:")
        wait_until(lambda: bool(list_tasks(api, PAYOUTS, "wait_for_bank", "deferred")), "the sensor to be deferred")
        print(f"  wait_for_bank: {list_tasks(api, PAYOUTS, 'wait_for_bank', 'deferred')[0]['state']}")
        shop("payouts", "--out", str(STATE / "orders" / "landing" / "payouts.csv"))
        wait_until(lambda: all_ended(api, PAYOUTS), "the payouts to be compared")
        wait_until(lambda: all_ended(api, SCORING), "the scoring to end")
        show_results(api)
        show_memory_limit(api)
    print(f"UI: {url} (user admin, password in {STATE / 'secrets' / 'admin_password'})")


def start_platform(port: int | None) -> str:
    """Return the address of the platform of this project, started if it is not up."""
    words = [*AIRFLEET, "status", str(PROJECT), "--json"]
    status = subprocess.run(words, capture_output=True, text=True, check=False)
    if status.returncode:
        flags = ["--port", str(port)] if port else []
        if subprocess.run([*AIRFLEET, "up", str(PROJECT), "--detach", *flags], check=False).returncode:
            raise DemoError("the platform did not start; what it said is above")
        status = subprocess.run(words, capture_output=True, text=True, check=True)
    return str(json.loads(status.stdout)["url"])


@contextmanager
def serve_shop() -> Iterator[None]:
    """Let the shop's API run while the demo does."""
    STATE.mkdir(exist_ok=True)
    with (STATE / "shop_api.log").open("w") as log:
        process = subprocess.Popen([sys.executable, PROJECT / "shop_api.py", "serve"], stderr=log)
        try:
            wait_until(lambda: process.poll() is not None or is_serving(), "the shop's API to start")
            if process.poll() is not None:
                raise DemoError(
                    f"the shop's API did not start: {(STATE / 'shop_api.log').read_text().splitlines()[-1]}"
                )
            yield
        finally:
            process.terminate()
            process.wait()


def is_serving() -> bool:
    try:
        return httpx.get("http://127.0.0.1:8099/faults", timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False


def shop(*words: str) -> None:
    subprocess.run([sys.executable, PROJECT / "shop_api.py", *words], check=True)


def log_in(url: str, password: str) -> httpx.Client:
    """Return a client of the REST API, as the admin."""
    reply = httpx.post(f"{url}/auth/token", json={"username": "admin", "password": password}, timeout=60)
    reply.raise_for_status()
    token = reply.json()["access_token"]
    return httpx.Client(base_url=f"{url}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=60)


def start_runs(api: httpx.Client) -> str:
    """Let every day run from now on, also those that had run before, and return since when."""
    begun = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    for run in list_runs(api, INGEST):
        body = {"dag_run_id": run["dag_run_id"], "dry_run": False, "only_failed": False, "reset_dag_runs": True}
        api.post(f"/dags/{INGEST}/clearTaskInstances", json=body).raise_for_status()
    for dag in DAGS:
        api.patch(f"/dags/{dag}", json={"is_paused": False}).raise_for_status()
    return begun


def wait_for_marts(api: httpx.Client, begun: str) -> None:
    def is_published() -> bool:
        return count_ended(api, MARTS, begun) >= 1 and all_ended(api, MARTS)

    wait_until(is_published, "the marts to be published")


def count_ended(api: httpx.Client, dag: str, begun: str) -> int:
    """Return how many runs have succeeded since a moment; raises DemoError if one has failed."""
    runs = [run for run in list_runs(api, dag) if (run["end_date"] or "") > begun]
    if any(run["state"] == "failed" for run in runs):
        raise DemoError(f"a run of {dag} failed: {api.base_url.copy_with(path=f'/dags/{dag}')}")
    return sum(run["state"] == "success" for run in runs)


def all_ended(api: httpx.Client, dag: str) -> bool:
    runs = list_runs(api, dag)
    return bool(runs) and all(run["state"] in ENDED for run in runs)


def list_runs(api: httpx.Client, dag: str) -> list[Json]:
    reply = api.get(f"/dags/{dag}/dagRuns", params={"limit": 100, "order_by": "-id"})
    reply.raise_for_status()
    runs: list[Json] = reply.json()["dag_runs"]
    return runs


def list_tasks(api: httpx.Client, dag: str, task: str, *states: str) -> list[Json]:
    reply = api.get(f"/dags/{dag}/dagRuns/~/taskInstances", params={"limit": 100, "state": list(states)})
    reply.raise_for_status()
    return [one for one in reply.json()["task_instances"] if one["task_id"] == task]


def read_breaker() -> Json:
    words = [*AIRFLEET, "breaker", "list", "--project", str(PROJECT), "--json"]
    breakers: list[Json] = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return next((one for one in breakers if one["name"] == "shop_api"), {"state": "unknown"})


def show_command(*words: str) -> None:
    print(f"$ airfleet {' '.join(words)}", flush=True)
    subprocess.run([*AIRFLEET, *words, "--project", str(PROJECT)], check=True)


def read_tries(api: httpx.Client) -> dict[tuple[str, str], int]:
    """Return the number of the last try of each task that calls the API, by run and task."""
    return {
        (one["dag_run_id"], one["task_id"]): one["try_number"]
        for name in ("wait_for_close", "fetch_orders")
        for one in list_tasks(api, INGEST, name)
    }


def show_tries(api: httpx.Client, before: dict[tuple[str, str], int]) -> None:
    """Print how many tries the outage cost; raises DemoError if it was one or more."""
    tries = read_tries(api)
    more = {key for key, number in tries.items() if number > before.get(key, 0) + 1}
    print(f"{len(tries)} tasks called the API, and {len(tries) - len(more)} of them succeeded with their first try")
    if more or len(tries) != 2 * DAYS:
        raise DemoError("the outage cost tries")


def show_results(api: httpx.Client) -> None:
    """Print what people wanted to know."""
    run = next(run for run in list_runs(api, PAYOUTS) if run["state"] == "success")
    reply = api.get(f"/dags/{PAYOUTS}/dagRuns/{run['dag_run_id']}/taskInstances/compare/xcomEntries/return_value")
    reply.raise_for_status()
    value = reply.json()["value"]
    differences = json.loads(value) if isinstance(value, str) else value
    loaded = list_tasks(api, INGEST, "load_orders", "success")
    scored = [run for run in list_runs(api, SCORING) if run["state"] == "success"]
    say(f"{len(loaded)} days are loaded, and the orders were scored {len(scored)} times: whenever days had arrived")
    for one in differences:
        cents = one["expected"] - one["paid"]
        print(f"  {one['day']}: the bank paid {cents / 100:.2f} less than the shop sold")
    if len(differences) != 1:
        raise DemoError("the bank's gap was not found, or more than that")


def show_memory_limit(api: httpx.Client) -> None:
    """Let one batch want more memory than fleet.yaml gives, and print what became of it."""
    say(f"one batch now wants {HOARD_MIB} MiB")
    body = {"logical_date": None, "conf": {"hoard_mib": HOARD_MIB}}
    reply = api.post(f"/dags/{SCORING}/dagRuns", json=body)
    reply.raise_for_status()
    run = reply.json()["dag_run_id"]
    wait_until(lambda: all_ended(api, SCORING), "the run to end")
    tasks = api.get(f"/dags/{SCORING}/dagRuns/{run}/taskInstances").raise_for_status().json()["task_instances"]
    for one in sorted(tasks, key=lambda task: (task["task_id"] != "train", task["map_index"])):
        print(f"  {one['task_id']:13} {one['map_index']:>2}  {one['state']}, try {one['try_number']}")
    reply = api.get(f"/dags/{SCORING}/dagRuns/{run}/taskInstances/score/logs/1", params={"map_index": 0})
    lines = [line for line in reply.raise_for_status().json()["content"] if isinstance(line, dict)]
    why = (line["event"] for line in lines if line["event"].startswith("airfleet:"))
    print(next(why, "  its log has the MemoryError"))
    if [one["state"] for one in tasks if one["task_id"] == "score" and one["map_index"] == 0] != ["failed"]:
        raise DemoError("the limit of memory is not in force")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.5)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    main()

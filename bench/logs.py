"""What the index of logs costs, how quickly it answers, and whether it loses a line.

make bench-logs                                   bench/results/logs.json, in about 20 minutes on two quiet cores
make bench-logs ARGS="--parts live throughput"    some parts; the others keep their figures
make bench-logs ARGS="--lines 100000 --quick"     a look; nothing is kept of it

The figures of a part are written when the part has ended, so what a stop leaves out is had by `--parts`. While the part
`index` makes its index, the part `loss` runs in a process of its own, as it mostly waits.

`ingest_lines_s`: lines that the agent takes from files into the index, divided by its CPU seconds, merges included.
`search_p95_s`: of searches with different words and filters, each for the newest 100 lines, in an index of `--lines`
lines of three days. `visible_s`: the 95th percentile of the time from a write to a task's log until a search finds it,
with the real process. `agent_core`: the share of a core that the process uses at 100 lines a second, index included.
`lost` and `doubled`: of the lines that tasks wrote while the process was killed with SIGKILL again and again, and while
the index could not be written for `--outage` seconds. `throughput_ratio`: tasks a second of `wide` (200 empty tasks at
once, LocalExecutor) with logs, traces, lineage and user spans, divided by those without (`log_throughput`).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil

from airfleet.runners.local import ports
from airfleet_provider.contract import environment
from airfleet_provider.contract.log_agent_config import LogAgentKey
from airfleet_provider.contract.redaction import Redaction
from airfleet_provider.log_agent.agent import LogAgent, Places
from airfleet_provider.log_agent.positions import Positions
from airfleet_provider.log_index.day_indexes import DayIndexReader, DayIndexWriter, name_day
from airfleet_provider.log_index.store import LogQuery
from log_throughput import measure_throughput
from support import read, say, write

DAGS, TASKS, HOSTS = 200, 10, 8
DAY_S = 86_400.0
WORDS = ("loaded", "rows", "table", "partition", "retry", "timeout", "connected", "skipped", "written", "checked")
LINES_PER_FILE = 200
RATE = 100


def make_draw(seed: int) -> random.Random:
    """Return a source of numbers that are the same each time."""
    return random.Random(seed)  # noqa: S311 - nothing is kept secret with them


def make_line(number: int, draw: random.Random, at: float) -> str:
    """Return a line of a task's log, about as long as Airflow's are."""
    words = " ".join(draw.sample(WORDS, 4))
    event = f"{words} {number} of sales_{draw.randrange(997)} in {draw.randrange(5000)} ms from db{draw.randrange(9)}"
    level = "error" if draw.random() < 0.01 else "info"
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{draw.randrange(1_000_000):06}Z"
    body = {"timestamp": moment, "level": level, "event": event, "logger": "task.stdout", "ti_id": f"{number:032x}"}
    return json.dumps(body, separators=(",", ":"))


def write_files(tasks: Path, lines: int, day: int, at: float) -> int:
    """Write logs of tasks with so many lines together; return their bytes."""
    draw, written = make_draw(day), 0
    for first in range(0, lines, LINES_PER_FILE):
        file = first // LINES_PER_FILE
        path = tasks / f"dag_id=dag_{file % DAGS}/run_id=day{day}_{file // (DAGS * TASKS)}"
        path = path / f"task_id=task_{file // DAGS % TASKS}/attempt=1.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        own = range(first, min(first + LINES_PER_FILE, lines))
        written += path.write_text("".join(f"{make_line(number, draw, at + number / lines)}\n" for number in own))
    return written


def measure_ingest(root: Path, lines: int) -> dict[str, Any]:
    """Take `lines` lines of three days from files into the index, as the process does.

    Another process writes the files of the next day meanwhile.
    """
    spent, begun_all, size, now = 0.0, time.monotonic(), 0, time.time()
    days = [(root / f"logs{day}", day, now - (2 - day) * DAY_S) for day in range(3)]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        files = [pool.submit(write_files, logs / "tasks", lines // 3, day, at) for logs, day, at in days]
        for logs, day, at in days:
            size += files[day].result()
            spent += _take(root, logs, day, at, lines // 3)
            say(f"{(day + 1) * (lines // 3)} lines, {(day + 1) * (lines // 3) / spent:.0f} a CPU second")
    kept = sum(path.stat().st_size for path in (root / "index").rglob("*") if path.is_file())
    return {
        "ingest_lines_s": round(lines / spent),
        "ingest_wall_s": round(time.monotonic() - begun_all, 1),
        "index_bytes_a_line": round(kept / lines),
        "file_bytes_a_line": round(size / lines),
    }


def _take(root: Path, logs: Path, day: int, at: float, lines: int) -> float:
    """Take the lines of a day, remove their files, and return the CPU seconds."""
    writer = DayIndexWriter(root / "index", lambda: at)
    places = Places(f"host{day}", str(logs), (str(logs / "tasks"),))
    positions = Positions(root / f"positions{day}.sqlite")
    agent = LogAgent(places, writer, positions, Redaction(), most_bytes=64 << 20, clock=time.monotonic, wall=time.time)
    begun = time.process_time()
    while agent.turn() or agent.totals.lines < lines:
        pass
    spent = time.process_time() - begun
    writer.close()
    positions.close()
    shutil.rmtree(logs)
    return spent


def measure_search(root: Path, lines: int, searches: int) -> dict[str, Any]:
    """Search with different words and filters, and return the percentiles of their times."""
    reader, draw = DayIndexReader(root / "index"), make_draw(7)
    since = int((time.time() - DAY_S) * 1e6)
    kinds: tuple[tuple[str, Callable[[], LogQuery]], ...] = (
        ("rare word", lambda: LogQuery(text=str(draw.randrange(lines // 3)))),
        ("frequent word", lambda: LogQuery(text=draw.choice(WORDS))),
        ("phrase", lambda: LogQuery(text=f'"{draw.choice(WORDS)} {draw.choice(WORDS)}"')),
        ("all words and not one", lambda: LogQuery(text=f"{' '.join(WORDS[:3])} -{draw.choice(WORDS[3:])}")),
        ("beginning", lambda: LogQuery(text=f"sales_{draw.randrange(99)}*")),
        ("Dag and task", lambda: LogQuery(dag=f"dag_{draw.randrange(DAGS)}", task=f"task_{draw.randrange(TASKS)}")),
        ("level and Dag", lambda: LogQuery(levels=("error", "critical"), dag=f"dag_{draw.randrange(DAGS)}")),
        ("word since a day", lambda: LogQuery(text=draw.choice(WORDS), since=since)),
        ("level and host", lambda: LogQuery(levels=("error",), host="host1", text=draw.choice(WORDS))),
        ("nothing", LogQuery),
    )
    times: dict[str, list[float]] = {name: [] for name, _ in kinds}
    for turn in range(searches):
        name, make = kinds[turn % len(kinds)]
        question = make()
        begun = time.monotonic()
        reader.search(question, 100)
        times[name].append(time.monotonic() - begun)
    every = [one for own in times.values() for one in own]
    slowest = {name: round(find_percentile(own, 0.95), 4) for name, own in times.items()}
    return {
        "search_p95_s": round(find_percentile(every, 0.95), 4),
        "search_p50_s": round(find_percentile(every, 0.5), 4),
        "search_p95_by_kind_s": slowest,
    }


def find_percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile of values that need not be sorted."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Host:
    """A log agent as `airfleet up` runs it, with its files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tasks = root / "logs" / "tasks"
        self.tasks.mkdir(parents=True)
        config = {
            LogAgentKey.HOST: "bench",
            LogAgentKey.SERVER: {"address": "127.0.0.1", "port": ports.find_several(1)[0]},
            LogAgentKey.INDEX: str(root / "index"),
            LogAgentKey.POSITIONS: str(root / "positions"),
            LogAgentKey.COMPONENTS: str(root / "logs"),
            LogAgentKey.TASKS: [str(self.tasks)],
        }
        self.config = root / "log-agent.json"
        self.config.write_text(json.dumps(config))
        self.reader = DayIndexReader(root / "index")
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "airfleet_provider.log_agent"]
        with (self.root / "agent.err").open("ab") as errors:
            self.process = subprocess.Popen(
                command, env={**os.environ, environment.LOG_AGENT: str(self.config)}, stderr=errors
            )
        return self.process

    def kill(self) -> None:
        """Kill the process as `kill -9` does, and start another."""
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)

    def append(self, task: int, text: str) -> None:
        """Write a line into the log of a task."""
        path = self.tasks / f"dag_id=d{task}" / "run_id=r" / "task_id=t" / "attempt=1.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with path.open("a") as file:
            file.write(
                json.dumps({"timestamp": moment, "level": "info", "event": text, "logger": "task.stdout"}) + "\n"
            )

    def count(self, text: str) -> Counter[str]:
        """Return how often each line with a word is found."""
        return Counter(hit.text for hit in self.reader.search(LogQuery(text=text), 10_000_000).hits)


@contextmanager
def start_host(root: Path) -> Iterator[Host]:
    """Yield a host with a running log agent, and end it."""
    host = Host(root)
    try:
        yield host
    finally:
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            host.stop()
        host.process.kill()


def measure_visible(host: Host, samples: int) -> dict[str, Any]:
    """Write lines, and measure when each is found. A search every 20 ms looks for it."""
    waits = []
    for number in range(samples):
        word = f"visible{number}x"
        time.sleep(make_draw(number).random())
        begun = time.monotonic()
        host.append(number % 5, word)
        while not host.reader.search(LogQuery(text=word), 1).hits:
            if time.monotonic() - begun > 120:
                raise SystemExit(f"{word} is not found: {(host.root / 'agent.err').read_text()}")
            time.sleep(0.02)
        waits.append(time.monotonic() - begun)
    return {"visible_s": round(find_percentile(waits, 0.95), 2), "visible_p50_s": round(find_percentile(waits, 0.5), 2)}


def measure_cost(host: Host, seconds: float) -> dict[str, Any]:
    """Write RATE lines a second, and return the share of a core that the process uses."""
    process = psutil.Process(host.process.pid)
    before, begun, number = sum(process.cpu_times()[:2]), time.monotonic(), 0
    while (passed := time.monotonic() - begun) < seconds:
        for _ in range(max(0, int(passed * RATE) - number)):
            host.append(number % 50, f"cost {number} of the rows of a table that has so many columns")
            number += 1
        time.sleep(0.05)
    spent = sum(process.cpu_times()[:2]) - before
    share = spent / (time.monotonic() - begun)
    return {"agent_core": round(share, 4), "agent_mib": process.memory_info().rss >> 20}


def measure_loss(host: Host, kills: int, outage_s: float) -> dict[str, Any]:
    """Write lines while the process is killed and while the index is not to be had; count what is found of them."""
    written, done = 0, threading.Event()

    def write() -> None:
        nonlocal written
        while not done.is_set():
            for _ in range(20):
                host.append(written % 20, f"safe {written}")
                written += 1
            time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    draw = make_draw(3)
    while not host.count("safe"):
        time.sleep(0.1)
    for _ in range(kills):
        time.sleep(draw.uniform(0.5, 3.0))
        host.kill()
    take_index_away(host, outage_s)
    done.set()
    writer.join()
    end = time.monotonic() + 300
    while len(found := host.count("safe")) < written and time.monotonic() < end:
        time.sleep(1)
    lost, doubled = written - len(found), sum(found.values()) - len(found)
    return {"lost": lost, "doubled": doubled, "safe_lines": written, "kills": kills, "outage_s": outage_s}


def take_index_away(host: Host, seconds: float) -> None:
    """Hold the lock of the present day's index for so long, so that the agent cannot write to it."""
    host.process.kill()
    host.process.wait()
    lock = host.root / "index" / name_day(int(time.time() * 1e6)) / ".tantivy-writer.lock"
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        host.start()
        time.sleep(seconds)
    if "LockBusy" not in (host.root / "agent.err").read_text():
        raise SystemExit("the outage was none: the agent did not find the index locked")


def run_index(root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the index, and search it once nothing else works."""
    with start_loss(arguments) as loss:
        found = {"lines": arguments.lines, **measure_ingest(root, arguments.lines)}
        found |= loss()
    return found | measure_search(root, arguments.lines, arguments.searches)


@contextmanager
def start_loss(arguments: argparse.Namespace) -> Iterator[Callable[[], dict[str, Any]]]:
    """Run the part `loss` in a process if it is wanted; yield a function that waits for its figures."""
    if LOSS not in arguments.parts:
        yield dict
        return
    words = ["--parts", LOSS, "--kills", str(arguments.kills), "--outage", str(arguments.outage), "--quick"]
    process = subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)

    def wait() -> dict[str, Any]:
        text, _ = process.communicate()
        if process.returncode:
            raise SystemExit("the part `loss` failed")
        found: dict[str, Any] = json.loads(text)
        return {name: found[name] for name in ("lost", "doubled", "safe_lines", "kills", "outage_s")}

    try:
        yield wait
    finally:
        process.terminate()
        process.wait()


def run_live(root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    with start_host(root / "live") as host:
        return measure_visible(host, arguments.samples) | measure_cost(host, arguments.seconds)


def run_loss(root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    with start_host(root / LOSS) as host:
        return measure_loss(host, arguments.kills, arguments.outage)


def run_throughput(root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    return measure_throughput(arguments.rounds, arguments.slots)


INDEX, LIVE, LOSS, THROUGHPUT = "index", "live", "loss", "throughput"
PARTS: Mapping[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    INDEX: run_index,
    LIVE: run_live,
    LOSS: run_loss,
    THROUGHPUT: run_throughput,
}


def main() -> None:
    """Measure, and write bench/results/logs.json unless it is a quick look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--lines", type=int, default=10_000_000, help="lines of the index that is searched")
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--samples", type=int, default=30, help="lines that are awaited")
    parser.add_argument("--seconds", type=float, default=60, help="of writing at 100 lines a second")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--outage", type=float, default=600, help="seconds without an index")
    parser.add_argument("--rounds", type=int, default=3, help="of 200 tasks on each of four platforms")
    parser.add_argument("--slots", type=int, default=8, help="tasks that may run at once")
    parser.add_argument("--quick", action="store_true", help="keep nothing of it")
    arguments = parser.parse_args()
    # What ends this process ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    result: dict[str, Any] = {}
    for part in arguments.parts:
        if part == LOSS and INDEX in arguments.parts:
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="airfleet-bench-logs-", ignore_cleanup_errors=True) as name:
            result |= PARTS[part](Path(name), arguments)
        result["load_average"] = round(os.getloadavg()[0], 1)
        say(f"{part}: {time.monotonic() - begun:.0f} s")
        if not arguments.quick:
            write("logs", {**read("logs"), **result})
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

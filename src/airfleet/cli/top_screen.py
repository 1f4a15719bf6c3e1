"""The screen of `airfleet top`: tables that fit a terminal of 80 columns, and the loop that draws them anew."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from airfleet.errors import AirfleetError
from airfleet.operations import top
from airfleet.operations.explanation import ReadablePlatform
from airfleet_provider.contract import wording
from airfleet_provider.contract.explanation import platform_causes, words
from airfleet_provider.contract.explanation.model import name_task
from airfleet_provider.contract.overview import Overview
from airfleet_provider.contract.text import one_line

NARROWEST, PIPE_WIDTH = 60, 100
BAR = 10
# Rows of each table at most, so that the slowest tasks have the rest of the screen.
MOST_POOLS, MOST_QUEUES, MOST_HOSTS, MOST_ONCE = 8, 6, 8, 20
# What tasks on one machine give as their host.
HERE = "127.0.0.1"
STATES = ("running", "queued", "scheduled", "deferred", "up_for_retry", "up_for_reschedule")


def is_terminal() -> bool:
    """Return whether a screen can be drawn, and keys can be read."""
    return sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


def print_once(name: str, overview: Overview) -> None:
    """Print what the platform does now. Output to a file or pipe is as wide as COLUMNS says, or 100 columns."""
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS") or PIPE_WIDTH)
    console = Console(width=width, highlight=False)
    console.print(draw(name, overview, rows=None))


def run(place: ReadablePlatform, every_s: float) -> None:
    """Draw the screen until the user types q or Ctrl-C. If the database goes away, say so, and try again."""
    console = Console(highlight=False)
    with _keys(), Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
        while True:
            try:
                with top.watch(place) as read:
                    while True:
                        live.update(draw(place.fleet.name, read(), rows=console.size.height), refresh=True)
                        if _is_ended(every_s):
                            return
            except AirfleetError as error:
                live.update(Text(f"{error}\n\nIt is tried again every {every_s:g} s; q quits."), refresh=True)
                if _is_ended(every_s):
                    return


@contextmanager
def _keys() -> Iterator[None]:
    """Read keys without Enter and without echo, and leave the terminal as it was, whatever happens."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _is_ended(every_s: float) -> bool:
    """Wait for the next reading, and return whether the user wants to quit. Any other key reads at once."""
    end = time.monotonic() + every_s
    waiting = select.poll()
    waiting.register(sys.stdin, select.POLLIN)
    while (left := end - time.monotonic()) > 0:
        if waiting.poll(left * 1000):
            key = os.read(sys.stdin.fileno(), 64)
            return not key or key[:1] in b"qQ\x03\x04"
    return False


def draw(name: str, overview: Overview, rows: int | None) -> RenderableType:
    """Return the screen. With `rows`, it has that many lines at most."""
    parts: list[RenderableType] = [*_list_heads(name, overview)]
    used = len(parts)
    for table in (_draw_pools(overview), _draw_queues(overview), _draw_hosts(overview)):
        if table is not None:
            parts += [Text(""), table]
            used += table.row_count + 2
    left = MOST_ONCE if rows is None else max(0, rows - used - 3)
    if left and overview.tasks:
        parts += [Text(""), _draw_tasks(overview, left)]
    return Group(*parts)


def _list_heads(name: str, overview: Overview) -> Iterator[Text]:
    states = [f"{overview.states[state]} {state}" for state in STATES if overview.states.get(state)]
    runs = overview.runs
    yield Text.assemble((f"{name} ", "bold"), f"{overview.now:%H:%M:%S} UTC  ", _describe_scheduler(overview))
    yield Text(
        f"runs: {runs.get('running', 0)} running, {runs.get('queued', 0)} queued"
        f"   last minute: {overview.succeeded} tasks succeeded, {overview.failed} failed",
        style="" if not overview.failed else "yellow",
    )
    yield Text(f"tasks: {', '.join(states) or 'none'}")


def _describe_scheduler(overview: Overview) -> Text:
    alive = [
        job
        for job in overview.platform.jobs
        if job.job_type == platform_causes.SCHEDULER and job.age_s <= platform_causes.SILENT_S
    ]
    if not alive:
        return Text("no scheduler is at work", style="bold red")
    lease = overview.platform.lease
    holder = f", lease renewed {wording.duration(lease.age_s)} ago" if lease and lease.holder else ""
    names = words.listing([job.hostname or "?" for job in alive])
    return _text(f"scheduler {names} (beat {wording.duration(alive[0].age_s)} ago{holder})")


def _make(*columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True, header_style="bold reverse", show_edge=False)
    for column in columns:
        grows = column in ("holders (slots)", "task", "workers", "state")
        table.add_column(
            column.upper(),
            justify="right" if column in right else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if grows else None,
        )
    return table


def _draw_pools(overview: Overview) -> Table | None:
    pools = sorted(overview.pools, key=lambda pool: (-pool.waiting, -pool.used, pool.name))[:MOST_POOLS]
    table = _make("slot pool", "", "used", "waiting", "holders (slots)", right=("used", "waiting"))
    for pool in pools:
        limit = "∞" if pool.slots < 0 else str(pool.slots)
        is_full = pool.free is not None and pool.free <= 0
        share = 0.0 if pool.slots <= 0 else min(1.0, pool.used / pool.slots)
        filled = round(share * BAR)
        style = "red" if is_full and pool.waiting else "yellow" if is_full else "green"
        holders = ", ".join(f"{dag} {slots}" for dag, slots in overview.holders.get(pool.name, ())[:4])
        table.add_row(
            _text(pool.name),
            Text("■" * filled + "·" * (BAR - filled), style=style),
            f"{pool.used}/{limit}",
            Text(str(pool.waiting), style="bold red" if pool.waiting and is_full else ""),
            _text(holders),
        )
    return table if pools else None


def _draw_queues(overview: Overview) -> Table | None:
    served = {queue for worker in overview.workers or () for queue in worker.queues}
    known = {one.queue: one for one in overview.queues}
    names = sorted(served | known.keys(), key=lambda name: (-known[name].queued if name in known else 0, name))
    table = _make("queue", "queued", "oldest", "running", "workers", right=("queued", "oldest", "running"))
    for name in names[:MOST_QUEUES]:
        load = known.get(name)
        table.add_row(
            _text(name),
            str(load.queued if load else 0),
            _age(overview.now, load.head if load else None),
            str(load.running if load else 0),
            _describe_workers(overview, name),
        )
    return table if names else None


def _describe_workers(overview: Overview, queue: str) -> Text:
    if overview.workers is None:
        return Text("the scheduler runs its tasks" if overview.platform.executor != "celery" else "not known")
    own = [worker for worker in overview.workers if queue in worker.queues]
    serving = [worker for worker in own if worker.state == "serving"]
    if not serving:
        return _text(", ".join(f"{one.name} {one.state}" for one in own) or "nobody serves it", style="bold red")
    slots, running = sum(one.slots for one in serving), sum(one.running for one in serving)
    others = len(own) - len(serving)
    more = f", {others} not serving" if others else ""
    style = "yellow" if running >= slots else ""
    return Text(f"{len(serving)} serving, {running}/{slots} slots busy{more}", style=style)


def _draw_hosts(overview: Overview) -> Table | None:
    by_host: dict[str, list[str]] = {}
    for worker in overview.workers or ():
        pool, _, host = worker.name.partition("@")
        host = HERE if host == "localhost" else host
        by_host.setdefault(host, []).append(f"{pool} {worker.state} {worker.running}/{worker.slots}")
    loads = {one.host: one for one in overview.hosts}
    names = sorted(loads, key=lambda name: (-loads[name].running, name))
    if not names and not by_host:
        return None
    table = _make("host", "running", "oldest", "report", "state", right=("running", "oldest", "report"))
    for name in [*names, *sorted(by_host.keys() - loads.keys())][:MOST_HOSTS]:
        load = loads.get(name)
        table.add_row(
            _text(name),
            str(load.running if load else 0),
            _age(overview.now, load.oldest if load else None),
            _age(overview.now, load.heartbeat if load else None),
            _text(", ".join(by_host.get(name, []))),
        )
    return table


def _draw_tasks(overview: Overview, rows: int) -> Table:
    table = _make("runs for", "task", "host", "slot pool", "try", right=("runs for", "try"))
    for one in overview.tasks[:rows]:
        table.add_row(
            _age(overview.now, one.since),
            _text(f"{one.dag} {name_task(one.task, one.map_index)}  {one.run}"),
            _text(one.hostname or ""),
            _text(one.pool),
            str(one.try_number),
        )
    return table


def _age(now: datetime, moment: datetime | None) -> str:
    return words.between(moment, now) if moment else ""


def _text(text: str, style: str = "") -> Text:
    """Return text of users for a cell. Control characters are escaped, and nothing in it is markup."""
    return Text(one_line(text), style=style)

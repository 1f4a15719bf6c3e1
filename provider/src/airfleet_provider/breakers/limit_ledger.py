"""The account of limits: what each has allowed and may allow now, in one transaction under the locks of their rows.

A token is one start. Tokens come with time, so none is lost for ever, whoever dies. A grant is a row: a token that is
spent for the next start of one task instance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airfleet_provider.breakers.coverage import Coverage, Task
from airfleet_provider.contract.service_limits import ServiceLimit, describe
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "limits")

# A grant whose task instance does not start in this time, as its slot pool is full, is taken back.
UNUSED_S = 10.0

Execute = Callable[[str, Mapping[str, Any]], Sequence[tuple[Any, ...]]]


@dataclass(slots=True)
class LimitAccount:
    """One limit within a transaction that has locked its row."""

    limit: ServiceLimit
    tokens: float
    # Seconds since the tokens were counted.
    idle_s: float
    active: int = 0
    # How many task instances wait in each queue of workers for their start, or have a grant to be queued there.
    waiting: Counter[str] = field(default_factory=Counter)
    # The task instances with a grant that they have not used.
    granted: dict[str, Task] = field(default_factory=dict)

    def is_full(self, queue: str) -> bool:
        """Return whether a minute's worth waits in a queue. What waits there for long would start in one moment.

        Each queue counts for itself: one without workers must not keep the tasks of others from their turn.
        """
        rate = self.limit.starts_per_minute
        return rate is not None and self.waiting[queue] >= rate

    @property
    def room_to_start(self) -> int:
        """Return how many more task instances may start now, however many are queued."""
        rooms = []
        if self.limit.starts_per_minute is not None:
            rooms.append(int(self.tokens))
        if self.limit.at_once is not None:
            rooms.append(self.limit.at_once - self.active - len(self.granted))
        return max(0, min(rooms))

    @property
    def wait_s(self) -> float:
        """Return the seconds until there is a token."""
        rate = self.limit.starts_per_minute
        return 0.0 if rate is None else max(0.0, (1.0 - self.tokens) * 60 / rate)

    def spend(self, instance: str, task: Task, queue: str) -> None:
        """Take a token for a task instance."""
        self.granted[instance] = task
        self.waiting[queue] += 1
        if self.limit.starts_per_minute is not None:
            self.tokens -= 1


def open_accounts(execute: Execute, limits: Collection[ServiceLimit]) -> dict[str, LimitAccount]:
    """Lock the rows of limits, and return their accounts, with the tokens that have come in."""
    by_name = {one.name: one for one in limits}
    rows = execute(SQL["lock"], {"names": list(by_name)})
    if len(rows) < len(by_name):
        execute(SQL["create"], {"names": sorted(by_name)})
        rows = execute(SQL["lock"], {"names": list(by_name)})
    return {
        name: LimitAccount(by_name[name], by_name[name].refill(tokens, idle_s), idle_s) for name, tokens, idle_s in rows
    }


def settle(execute: Execute, accounts: Mapping[str, LimitAccount]) -> None:
    """Close the grants that were used, take back those that could not be used, and read those that are open."""
    names = list(accounts)
    for name, outcome in execute(SQL["settle"], {"names": names, "after_s": UNUSED_S}):
        if outcome == "expired":
            account = accounts[name]
            account.tokens = min(account.limit.most_tokens, account.tokens + 1)
    for name, instance, dag, task, queue in execute(SQL["list_open"], {"names": names}):
        accounts[name].granted[instance] = (dag, task)
        accounts[name].waiting[queue] += 1


def count_active(
    execute: Execute, accounts: Mapping[str, LimitAccount], coverage: Coverage, *, but: Iterable[str] = ()
) -> None:
    """Count the tasks of each limit that are queued, running or deferred. Call it after the grants were read.

    So a task that is queued meanwhile counts twice, and not never.
    """
    active: Counter[Task] = Counter()
    queued: dict[Task, Counter[str]] = {}
    for dag, task, queue, waiting, count in execute(SQL["count_active"], {"but": list(but)}):
        active[(dag, task)] += count
        queued.setdefault((dag, task), Counter())[queue] += waiting
    for name, tasks in coverage.find(list(active), list(accounts), execute).items():
        accounts[name].active = sum(active[one] for one in tasks)
        for one in tasks:
            accounts[name].waiting.update(queued[one])


def choose(
    execute: Execute,
    accounts: Mapping[str, LimitAccount],
    waiting: Mapping[str, Collection[Task]],
    kept: Collection[Task],
    probes: Collection[str],
) -> None:
    """Grant starts, as many as the limits have room for, in a fair order.

    A task under several limits gets a grant of all of them at once, or of none. Tasks that a breaker keeps get none,
    but for its probes.
    """
    keepers: dict[Task, list[str]] = {}
    for name in sorted(accounts):
        for task in waiting.get(name, ()):
            keepers.setdefault(task, []).append(name)
    rooms = Counter({name: account.room_to_start for name, account in accounts.items()})
    able = {task: tuple(names) for task, names in keepers.items() if all(rooms[name] for name in names)}
    if not able:
        return
    sets = sorted(set(able.values()))
    numbers = {names: number for number, names in enumerate(sets)}
    full = [
        (number, queue)
        for names, number in numbers.items()
        for queue in {one for name in names for one in accounts[name].waiting}
        if any(accounts[name].is_full(queue) for name in names)
    ]
    values = {
        "full_sets": [number for number, _ in full],
        "full_queues": [queue for _, queue in full],
        "dags": [dag for dag, _ in able],
        "tasks": [task for _, task in able],
        "sets": [numbers[names] for names in able.values()],
        "set_numbers": [number for names, number in numbers.items() for _ in names],
        "set_names": [name for names in numbers for name in names],
        "names": list(accounts),
        "most": max(rooms.values()),
        "granted": sorted({one for account in accounts.values() for one in account.granted}),
        "probes": sorted(probes),
        "kept_dags": [dag for dag, _ in kept],
        "kept_tasks": [task for _, task in kept],
    }
    granted: list[tuple[str, str]] = []
    for instance, dag, task, queue, number in execute(SQL["list_candidates"], values):
        names = sets[number]
        if all(rooms[name] and not accounts[name].is_full(queue) for name in names):
            rooms.subtract(names)
            for name in names:
                accounts[name].spend(instance, (dag, task), queue)
                granted.append((name, instance))
    if granted:
        execute(SQL["grant"], {"names": [one for one, _ in granted], "instances": [one for _, one in granted]})


def begin_start(
    execute: Execute, instance: str, limits: Collection[ServiceLimit], coverage: Coverage
) -> tuple[str, str] | None:
    """Record that a task instance starts, or return the limit that it waits for, and why.

    What is granted was counted when it was granted. But if tasks have waited for a worker, they start together, and
    those beyond the limit wait again. An instance without a grant, which the scheduler did not know to be under the
    limit, takes a token if there is one. A task that asks twice in one start is counted once.
    """
    found = execute(SQL["find_start"], {"names": [one.name for one in limits], "instance": instance})
    has_started = {name for name, _, started in found if started}
    grants = {name: grant for name, grant, _ in found}
    new = [one for one in limits if one.name not in has_started]
    if not new:
        return None
    accounts = open_accounts(execute, new)
    free = {name: account for name, account in accounts.items() if name not in grants}
    if free:
        settle(execute, free)
        count_active(execute, free, coverage, but=[instance])
    full = [
        account.limit for name, account in accounts.items() if _is_full(execute, account, is_granted=name in grants)
    ]
    if not full:
        execute(SQL["start"], {"ids": [grants[name] for name in accounts if name in grants], "instance": instance})
        execute(SQL["start_without_grant"], {"names": list(free), "instance": instance})
    for account in free.values():
        if not full and account.limit.starts_per_minute is not None:
            account.tokens -= 1
        execute(SQL["spend"], {"name": account.limit.name, "tokens": account.tokens, "idle_s": account.idle_s})
    return (full[0].name, describe(full[0].starts_per_minute, full[0].at_once)) if full else None


def _is_full(execute: Execute, account: LimitAccount, *, is_granted: bool) -> bool:
    rate = account.limit.starts_per_minute
    if not is_granted:
        return account.room_to_start < 1
    if rate is None:
        return False
    [(started,)] = execute(SQL["count_started"], {"name": account.limit.name})
    return bool(started + 1 > rate + account.limit.most_tokens)

"""How many slots the workers of a pool get: what holds for any inputs, and what a reader of an explanation expects."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airfleet_provider.contract import slot_simulation
from airfleet_provider.contract.jitter_rules import JitterRule
from airfleet_provider.contract.slot_rules import (
    SILENT_S,
    Demand,
    Hours,
    Peak,
    SlotInputs,
    SlotRule,
    Stall,
    Waiting,
    WorkerReport,
    count_admissible,
    count_hosts,
    decide,
    find_absent_slots,
    rank_hosts,
)
from airfleet_provider.contract.slot_simulation import PastTask, simulate

RULE = SlotRule("cpu", ("cpu",), ("a", "b", "c"), per_host=8)
DAY = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday


def invent(seed: int, *, pack: bool = False) -> SlotInputs:
    """Return any inputs at all, the same for the same seed."""
    dice = random.Random(seed)
    hosts = dice.randint(0, 6)
    per_host = dice.randint(1, 32)
    workers = tuple(
        WorkerReport(
            f"w{number}",
            dice.choice([None, dice.randint(1, per_host)]),
            dice.randint(0, per_host),
            dice.random() > 0.2,
            dice.choice([None, 0.5, SILENT_S + 1]),
            rank=number,
        )
        for number in range(hosts)
    )
    most = dice.randint(max(1, hosts), max(1, hosts * per_host))
    return SlotInputs(
        least=dice.randint(max(1, hosts), most) if most >= hosts else most,
        most=most,
        per_host=per_host,
        demand=Demand(*(dice.choice([0, dice.randint(0, 600)]) for _ in range(3))),
        workers=workers,
        peak=dice.randint(0, 300),
        fixed=dice.choice([None, None, dice.randint(1, 200)]),
        pack=pack,
    )


@pytest.fixture(params=[False, True], ids=["spread", "packed"])
def many(request: pytest.FixtureRequest) -> Iterator[SlotInputs]:
    return (invent(seed, pack=request.param) for seed in range(400))


def test_whatever_happens_a_worker_has_no_more_slots_than_processes_and_each_has_one_unless_tasks_are_packed(
    many: Iterator[SlotInputs],
) -> None:
    for inputs in many:
        found = decide(inputs)
        assert set(found.slots) == {one.host for one in inputs.workers if one.counts}
        least = 0 if inputs.pack else 1
        assert all(least <= slots <= inputs.per_host for slots in found.slots.values()), inputs
        assert not found.slots or max(found.slots.values()) > 0, "no queue is without a worker"


def test_the_sum_is_what_was_wanted_as_far_as_the_workers_that_are_there_allow(many: Iterator[SlotInputs]) -> None:
    for inputs in many:
        found = decide(inputs)
        there = len(found.slots)
        least = 0 if inputs.pack else there
        assert sum(found.slots.values()) == min(max(found.wanted, least), there * inputs.per_host)
        if inputs.fixed is None:
            assert inputs.least <= found.wanted <= inputs.most
            assert found.wanted >= min(inputs.demand.tasks, inputs.most), "no task waits for a slot that could be there"


def test_more_tasks_never_mean_fewer_slots(many: Iterator[SlotInputs]) -> None:
    for inputs in many:
        more = replace(inputs, demand=replace(inputs.demand, admissible=inputs.demand.admissible + 7))
        assert decide(more).wanted >= decide(inputs).wanted


def test_a_decision_is_the_same_again_from_what_was_stored_and_settles_at_once(many: Iterator[SlotInputs]) -> None:
    for inputs in many:
        found = decide(inputs)
        assert decide(SlotInputs.from_json(json.loads(json.dumps(inputs.to_json())))) == found
        settled = tuple(replace(one, slots=found.slots.get(one.host)) for one in inputs.workers)
        assert decide(replace(inputs, workers=settled)).slots == found.slots, "slots do not wander between hosts"


def report(host: str, slots: int | None, held: int = 0) -> WorkerReport:
    return WorkerReport(host, slots, held, True, 0.5)


def test_the_emptiest_host_loses_its_slots_first_so_that_hosts_become_empty() -> None:
    workers = (report("a", 8, 2), report("b", 8, 7), report("c", 8, 0))
    found = decide(SlotInputs(3, 24, 8, Demand(running=9), workers))
    assert found.slots == {"b": 7, "a": 1, "c": 1}


def test_packed_tasks_go_to_the_first_hosts_and_the_others_have_no_slot() -> None:
    workers = tuple(WorkerReport(host, 8, 0, True, 0.5, rank) for host, rank in (("a", 7), ("b", 2), ("c", 3)))
    packed = SlotInputs(1, 24, 8, Demand(running=9), workers, pack=True)
    assert decide(packed).slots == {"b": 8, "c": 1, "a": 0}
    assert decide(replace(packed, demand=Demand())).slots == {"b": 1, "c": 0, "a": 0}
    gone = tuple(replace(one, takes=one.host != "b") for one in workers)
    assert decide(replace(packed, workers=gone)).slots == {"c": 8, "a": 1}


def test_tasks_that_no_worker_takes_though_slots_are_free_are_offered_to_all() -> None:
    workers = tuple(WorkerReport(host, slots, 8, True, 0.5, rank) for host, slots, rank in (("a", 8, 0), ("b", 0, 1)))
    waits = SlotInputs(1, 16, 8, Demand(running=0, queued=3, queued_s=31.0), workers, pack=True, is_stuck=True)
    found = decide(waits)
    assert found.slots == {"a": 2, "b": 1}, "whatever the first one reports, it may be dead"
    assert "tasks wait though slots are free" in found.reason
    assert decide(replace(waits, is_stuck=False)).slots == {"a": 3, "b": 0}
    assert decide(replace(waits, pack=False)).reason == "3 tasks need a slot"


def test_tasks_are_stuck_when_slots_are_free_and_none_begins_until_none_waits_for_long() -> None:
    stall = Stall()

    def look(now: float, waited_s: float, running: int = 0) -> bool:
        sent_at = 1000.0 + now - waited_s
        return stall.add(now, waits_s=waited_s or None, has_free=running < 8, sent_at=sent_at, begun_at=500.0)

    assert [look(now, now + 1.0) for now in (0.0, 20.0, 30.0, 31.0)] == [False, False, False, True]
    assert look(60.0, 40.0), "some were taken, as each worker has a slot now"
    assert not look(90.0, 20.0)
    assert not look(121.0, 0.0)
    assert not look(122.0, 500.0, running=8)
    assert not look(160.0, 538.0, running=8), "no slot is free"
    assert not look(161.0, 539.0, running=7), "one is free for a moment"


@pytest.mark.parametrize("ran_s", [0.3, 2.0, 20.0, 100.0])
def test_max_holds_however_long_a_queue_is_and_though_each_task_leaves_its_slot_free_for_a_moment(ran_s: float) -> None:
    stall, dice, begun_at, taken = Stall(), random.Random(1), 0.0, 0
    for now in range(600):
        is_free = dice.random() < 0.5 / (0.5 + ran_s)
        if now - begun_at > ran_s:
            begun_at, taken = float(now), taken + 1
        demand = Demand(0 if is_free else 1, 5000 - taken, queued_s=100.0 + now)
        moments = {"sent_at": 100.0 + taken / 1000, "begun_at": 0.0 if is_free else begun_at}
        workers = tuple(WorkerReport(f"w{one}", int(not one), 0, True, 0.5, rank=one) for one in range(6))
        is_stuck = stall.add(float(now), waits_s=demand.queued_s, has_free=is_free, **moments)
        found = decide(SlotInputs(1, 1, 8, demand, workers, pack=True, is_stuck=is_stuck))
        assert sum(found.slots.values()) == 1, now


def test_ranks_change_only_for_hosts_that_are_new_or_away() -> None:
    assert rank_hosts({"b": None, "a": None}, {"a", "b"}) == {"a": 0, "b": 1}
    present = {"a": 0, "b": 1, "c": 2}
    assert rank_hosts(present, {"a", "b", "c"}) == present
    assert rank_hosts(present, ()) == present, "the api-servers are away, and the workers are well"
    away = rank_hosts(present, {"b", "c"})
    assert away == {"a": 3, "b": 1, "c": 2}, "when it is back, it is filled last"
    assert rank_hosts(away, {"a", "b", "c"}) == away
    assert rank_hosts({**present, "aa": None}, {*present, "aa"}) == {**present, "aa": 3}
    assert rank_hosts({"b": 1, "c": 2}, {"b", "c"}) == {"b": 1, "c": 2}, "a host that left changes no other's rank"


@pytest.mark.parametrize("seed", range(20))
def test_ranks_always_differ_and_hosts_that_take_tasks_come_first_in_their_old_order(seed: int) -> None:
    dice, ranks = random.Random(seed), dict.fromkeys("abcdef")
    for _ in range(50):
        counting = {host for host in ranks if dice.random() < 0.7}
        found = rank_hosts(ranks, counting)
        assert len(set(found.values())) == len(found)
        assert not counting or all(found[one] < found[other] for one in counting for other in found.keys() - counting)
        known = [host for host in counting if ranks[host] is not None]
        assert sorted(known, key=lambda one: found[one]) == sorted(known, key=lambda one: ranks[one] or 0)
        assert rank_hosts(found, counting) == found, "it settles at once"
        ranks = dict(found)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (SlotInputs(1, 8, 8, Demand(2, 1, 500), ()), "503 tasks need a slot, and 8 is the most"),
        (SlotInputs(4, 8, 8, Demand(1), ()), "1 tasks need a slot, and 4 is the least"),
        (SlotInputs(1, 8, 8, Demand(2), (), peak=5), "2 tasks need a slot, and 5 did a moment ago"),
        (SlotInputs(1, 8, 8, Demand(5), (), fixed=2), "set by hand"),
    ],
)
def test_a_decision_says_what_it_depended_on(inputs: SlotInputs, reason: str) -> None:
    assert decide(inputs).reason == reason


def test_a_worker_that_comes_back_takes_no_slot_that_others_have_meanwhile() -> None:
    before = {"a": 8, "b": 4, "new": None}
    assert find_absent_slots(before, {"b": 8}) == {"a": 1, "new": 1}
    assert find_absent_slots(before, {"b": 8}, pack=True) == {"a": 0, "new": 0}
    assert find_absent_slots(before, {}) == before, "the api-servers are away, and the workers are well"


def test_slots_are_kept_until_they_were_not_needed_for_a_while_and_then_go() -> None:
    peak = Peak(60.0, 0.0, 8)
    assert peak.add(1.0, 0) == 8, "a process that has just become the active one takes nothing away"
    assert peak.add(30.0, 3) == 8
    assert peak.add(61.0, 0) == 3
    assert peak.add(91.0, 0) == 0
    assert peak.add(92.0, 500) == 500


def test_only_tasks_that_the_scheduler_could_send_are_counted() -> None:
    waiting = [
        Waiting("sales", "r1", "load", "default_pool", 100),
        Waiting("sales", "r2", "load", "crm", 100),
        Waiting("lake", "r1", "fill", "heavy", 100, each=4),
        Waiting("away", "r1", "call", "default_pool", 100),
        Waiting("lost", "r1", "call", "no_such_pool", 100),
    ]
    runs = {(one.dag, one.run): 64 for one in waiting} | {("sales", "r1"): 16}
    pools = {"default_pool": None, "crm": 2, "heavy": 10}
    assert count_admissible(waiting, runs, pools, [("away", "call")]) == 16 + 2 + 2
    assert count_admissible(waiting[:1], {("sales", "r1"): -3}, pools) == 0, "the limit was lowered meanwhile"


def test_a_slot_pool_that_two_tasks_share_is_given_away_once() -> None:
    waiting = [Waiting("sales", "r", name, "crm", 5) for name in ("a", "b")]
    assert count_admissible(waiting, {("sales", "r"): 16}, {"crm": 7}) == 7


def test_hours_that_pass_midnight_belong_to_the_day_on_which_they_began() -> None:
    rule = replace(RULE, hours=(Hours("22:00", "06:00", ("mon",), least=1, most=4),))
    assert rule.find_limits(DAY) == (3, 24)
    assert rule.find_limits(DAY.replace(hour=23)) == (3, 4)
    assert rule.find_limits(DAY.replace(hour=5) + timedelta(days=1)) == (3, 4)
    assert rule.find_limits(DAY.replace(hour=23) + timedelta(days=1)) == (3, 24)


def test_a_packed_pool_may_have_fewer_slots_than_hosts() -> None:
    rule = replace(RULE, pack=True, hours=(Hours("20:00", "22:00", most=2),))
    assert rule.find_limits(DAY) == (1, 24)
    assert rule.find_limits(DAY.replace(hour=21)) == (1, 2)


def test_hours_are_of_the_zone_of_the_rule_and_each_host_keeps_a_slot() -> None:
    rule = replace(RULE, least=5, zone="Asia/Tokyo", hours=(Hours("20:00", "22:00", most=1),))
    assert rule.find_limits(DAY) == (3, 3), "it is 21:00 there"
    assert SlotRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


def test_jitter_flattens_full_hours_and_moves_only_what_a_cron_began() -> None:
    crons = [PastTask(3600.0 * hour, 60.0, f"dag_{number}") for hour in range(3) for number in range(200)]
    by_hand = [PastTask(1000.0, 60.0)]
    rules = (JitterRule("all", None, 600),)
    later = slot_simulation.jitter([*crons, *by_hand], (), rules)
    assert later[-1:] == tuple(by_hand)
    assert (slot_simulation.count_busiest_minute(crons), slot_simulation.count_busiest_minute(())) == (200, 0)
    assert slot_simulation.count_busiest_minute(later) < 50
    assert simulate(RULE, later).wait_p95_s < 0.5 * simulate(RULE, crons).wait_p95_s
    assert slot_simulation.jitter(later, rules, rules) == later, "they had this jitter"


def test_a_simulation_says_what_scaling_saves_and_what_it_costs() -> None:
    tasks = [PastTask(3600.0 * hour + number / 10, 60.0) for hour in range(12) for number in range(12)]
    scaled, fixed = simulate(RULE, tasks), simulate(slot_simulation.fix(RULE), tasks)
    assert (scaled.tasks, fixed.tasks) == (144, 144)
    assert fixed.slot_hours == pytest.approx(24 * 11, rel=0.01)
    assert scaled.slot_hours < 0.25 * fixed.slot_hours
    assert scaled.busy_hours == fixed.busy_hours == pytest.approx(2.4)
    assert scaled.wait_p95_s <= 2.5, "a decision later, the slots are there"
    assert fixed.wait_most_s <= 2.0
    narrow = simulate(replace(RULE, most=3), tasks)
    assert narrow.wait_p95_s > 100
    assert narrow.utilisation > scaled.utilisation > fixed.utilisation
    assert simulate(RULE, []).tasks == 0


def test_hosts_are_those_of_the_tasks_now_or_of_those_that_are_expected_whichever_are_more() -> None:
    inputs = SlotInputs(1, 64, 8, Demand(running=17, lasting=5, due=3), (), peak=17)
    assert count_hosts(inputs) == 3
    assert count_hosts(replace(inputs, demand=Demand(running=17, lasting=5, due=30))) == 5
    assert count_hosts(replace(inputs, demand=Demand(running=17, lasting=5, due=300), fixed=8)) == 1, "a person said so"
    assert decide(inputs) == decide(replace(inputs, demand=Demand(running=17))), "slots follow the tasks that are there"
    old = inputs.to_json()
    del old["demand"]["lasting"], old["demand"]["due"]
    assert SlotInputs.from_json(old).demand == Demand(running=17), "a decision of an earlier version is read"

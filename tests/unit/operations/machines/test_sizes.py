"""Which sizes fit machines for workers: those of a machine whose slots are all taken."""

from __future__ import annotations

from airfleet.operations.machines.sizes import advise
from airfleet.spec.machines import GIB, MachineGroup
from airfleet.spec.topology import Limits, WorkerPool
from airfleet_provider.contract.usage_summary import Quantiles, UsageSummary

GROUP = MachineGroup("worker", 2, 16, 32 * GIB, 100 * GIB, "debian-13", pools=("default",))
POOL = WorkerPool("default", ("default",), 8)


def use(pool: str, *, measured: int = 20, memory: float = GIB, cpu_s: float = 5, run_s: float = 10) -> UsageSummary:
    return UsageSummary(
        pool=pool,
        dag_id=None,
        task_id=None,
        attempts=measured,
        recorded=measured,
        measured=measured,
        memory_kills=0,
        signals=0,
        is_group=True,
        limit=None,
        memory=Quantiles(memory / 2, memory, 2 * memory),
        cpu_s=Quantiles(cpu_s, cpu_s, cpu_s),
        run_s=Quantiles(run_s, run_s, run_s),
        read=None,
        written=None,
    )


def test_a_full_machine_has_room_for_all_of_its_tasks_and_for_the_rest() -> None:
    (advice,) = advise([GROUP], [POOL], [use("default")])
    assert (advice.fitting_cpus, advice.fitting_memory) == (5, 10 * GIB)
    assert (advice.cpus, advice.memory) == (16, 32 * GIB)


def test_a_pool_never_needs_more_than_its_limit() -> None:
    limited = WorkerPool("default", ("default",), 8, Limits(memory=4 * GIB, cpus=2))
    (advice,) = advise([GROUP], [limited], [use("default")])
    assert (advice.fitting_cpus, advice.fitting_memory) == (3, 6 * GIB)


def test_pools_of_one_machine_add_up_and_a_shared_queue_counts_for_each() -> None:
    other = WorkerPool("cpu", ("cpu",), 2)
    (advice,) = advise([GROUP], [POOL, other], [use("cpu", memory=9 * GIB), use("default+cpu")])
    assert advice.fitting_memory == 10 * GIB, "a group with pools runs only those"
    everything = MachineGroup("worker", 2, 16, 32 * GIB, 100 * GIB, "debian-13")
    (advice,) = advise([everything], [POOL, other], [use("cpu", memory=9 * GIB), use("default+cpu")])
    assert advice.fitting_memory == (2 + 8 + 18) * GIB


def test_too_few_attempts_give_no_advice_and_hosts_with_other_roles_none_at_all() -> None:
    web = MachineGroup("web", 2, 4, 8 * GIB, 50 * GIB, "debian-13", roles=("web", "worker"))
    (advice,) = advise([GROUP, web], [POOL], [use("default", measured=19)])
    assert (advice.group, advice.fitting_memory) == ("worker", None)
    assert "19 of 20" in advice.why

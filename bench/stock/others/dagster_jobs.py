"""The workloads as Dagster jobs. Prints the seconds of one as JSON.

python dagster_jobs.py WORKLOAD SLOTS
"""

import json
import sys
import time

from dagster import (
    DagsterInstance,
    DynamicOut,
    DynamicOutput,
    In,
    Nothing,
    Out,
    execute_job,
    job,
    multiprocess_executor,
    op,
    reconstructable,
)


@op(ins={"after": In(Nothing)}, out=Out(Nothing))
def empty() -> None:
    pass


@op(out=DynamicOut(int))
def spread():  # type: ignore[no-untyped-def]  # noqa: ANN201 - Dagster reads the annotation
    for number in range(200):
        yield DynamicOutput(number, mapping_key=f"n{number}")


@op
def square(number: int) -> int:
    return number * number


@op
def gather(squares: list) -> int:  # type: ignore[type-arg] # Dagster reads the annotation
    return sum(squares)


def _chain(length: int, prefix: str) -> None:
    previous = None
    for number in range(length):
        step = empty.alias(f"{prefix}_{number}")
        previous = step(previous) if previous is not None else step()


@job(executor_def=multiprocess_executor)
def seq40() -> None:
    _chain(40, "step")


@job(executor_def=multiprocess_executor)
def wide() -> None:
    for number in range(200):
        empty.alias(f"part_{number}")()


@job(executor_def=multiprocess_executor)
def chain() -> None:
    for number in range(10):
        _chain(10, f"chain_{number}")


@job(executor_def=multiprocess_executor)
def fan() -> None:
    gather(spread().map(square).collect())


def main() -> None:
    chosen = reconstructable({"seq40": seq40, "wide": wide, "chain": chain, "fan": fan}[sys.argv[1]])
    slots = {"execution": {"config": {"max_concurrent": int(sys.argv[2])}}}
    begun = time.monotonic()
    with DagsterInstance.get() as instance:
        done = execute_job(chosen, instance=instance, run_config=slots)
    wall = time.monotonic() - begun
    if not done.success:
        raise SystemExit("the job failed")
    print(json.dumps({"wall_s": wall}))


if __name__ == "__main__":
    main()

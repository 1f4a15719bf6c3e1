"""The workloads as Prefect flows. Prints the seconds of one as JSON, with those of the server.

python prefect_flows.py WORKLOAD SLOTS
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

SLOTS = int(sys.argv[2])


@task
def empty() -> None:
    pass


@task
def square(number: int) -> int:
    return number * number


@flow
def seq40() -> None:
    for _ in range(40):
        empty()


@flow(task_runner=ThreadPoolTaskRunner(max_workers=SLOTS))
def wide() -> None:
    for future in [empty.submit() for _ in range(20)]:
        future.result()


@flow
def chain() -> None:
    for _ in range(10):
        empty()


@flow(task_runner=ThreadPoolTaskRunner(max_workers=SLOTS))
def fan() -> None:
    total = sum(future.result() for future in square.map(range(200)))
    if total != sum(number * number for number in range(200)):
        raise ValueError(f"a result was lost: {total}")


def main() -> None:
    chosen, runs = {"seq40": (seq40, 1), "wide": (wide, 10), "chain": (chain, 10), "fan": (fan, 1)}[sys.argv[1]]
    empty_flow = flow(lambda: None, name="warmup")
    empty_flow()
    begun = time.monotonic()
    with ThreadPoolExecutor(runs) as pool:
        for done in [pool.submit(chosen) for _ in range(runs)]:
            done.result()
    print(json.dumps({"wall_s": time.monotonic() - begun}))


if __name__ == "__main__":
    main()

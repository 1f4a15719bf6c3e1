"""Says for every order how likely it is to come back."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.sql.operators.sql import SQLCheckOperator
from airflow.sdk import Param, dag, task

from include.assets import MARTS, SCORES
from include.settings import BATCHES, DEFAULT_ARGS, SQL, WAREHOUSE

DOC = """
### orders_scoring

Starts when the marts are published: learns from all orders, scores them in batches, and checks the scores.

* **Memory has a limit** (`task_limits` of fleet.yaml). A batch reads 500 rows at a time, so more orders take more time
  and not more memory.
* **See the limit:** trigger it with `{"hoard_mib": 2000}`. One batch wants 2,000 MiB, fails and says why. Everything
  else goes on.
"""


@dag(
    schedule=[MARTS],
    start_date=datetime(2025, 1, 6),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params={"hoard_mib": Param(0, type="integer", minimum=0, maximum=16_000, description="MiB that a batch wastes")},
    tags=["orders", "scoring"],
    doc_md=DOC,
)
def orders_scoring() -> None:
    @task(execution_timeout=timedelta(minutes=15))
    def train() -> list[float]:
        """Learn from all orders. Four numbers go on to the batches; larger results belong into a table or a file."""
        from include.scoring import train as learn_returns
        from include.warehouse import connect

        with connect() as connection:
            return learn_returns(connection)

    # An author may ask for less than fleet.yaml gives, never for more. At most two batches run at once, so that a
    # scoring does not take every slot of the platform.
    @task(max_active_tis_per_dagrun=2, executor_config={"airfleet": {"memory": "384M"}})
    def score(batch: int, weights: list[float], hoard_mib: str) -> int:
        """Score one batch. It can run again alone."""
        from include.scoring import score as score_batch
        from include.warehouse import connect

        hoard = b"\1" * (int(hoard_mib) << 20) if batch == 0 else b""
        with connect() as connection:
            return score_batch(connection, batch, weights) + 0 * len(hoard)

    check = SQLCheckOperator(
        task_id="check_scores",
        conn_id=WAREHOUSE,
        sql=(SQL / "check_scores.sql").read_text(),
        pool=WAREHOUSE,
        outlets=[SCORES],
    )
    # Batches by number, and not one task for each order: a mapped task costs a row, a process and a slot.
    score.partial(weights=train(), hoard_mib="{{ params.hoard_mib }}").expand(batch=list(range(BATCHES))) >> check


orders_scoring()

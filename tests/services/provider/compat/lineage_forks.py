"""A program of `test_calls_lineage_events`: forks a task for each case, and prints which events the provider made."""

import json
import os
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Asset, BaseOperator
from airflow.sdk._shared.secrets_masker import _secrets_masker
from airflow.sdk.api.datamodels._generated import TIRunContext
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.lineage import get_hook_lineage_collector
from airflow.sdk.listener import get_listener_manager

from airfleet_provider.compat.calls import openlineage
from airfleet_provider.compat.calls.lineage_events import PreparedEvents
from airfleet_provider.compat.patches import lineage_event, lineage_work

RECORDS, FOLDER, MODE = sys.argv[1:]
EARLIER, LATER = datetime(2026, 3, 4, 5, 6, 7, 891, tzinfo=UTC), datetime(2026, 3, 5, 5, 6, tzinfo=UTC)
TABLE = Asset(uri="file://host/tmp/table", name="table")
POLICY = "_openlineage_emission_policy"
PARENT = {
    "parentRunId": "01a22922-fe5c-7579-b1bf-901c08a38895",
    "parentJobNamespace": "elsewhere",
    "parentJobName": "other",
}


class KnowingOperator(BaseOperator):
    """An operator with lineage of its own."""

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ANN401
        from airflow.providers.openlineage.extractors import OperatorLineage  # noqa: PLC0415
        from openlineage.client.event_v2 import Dataset  # noqa: PLC0415

        return OperatorLineage(outputs=[Dataset("file://host", "/tmp/known")])


class SilentOperator(BaseOperator):
    """An operator that the settings leave out."""


def work() -> None:
    """Do nothing."""


def make_dag() -> Any:  # noqa: ANN401
    with DAG("sales", schedule=None, tags=["nightly", "bench"]) as dag:
        BaseOperator(task_id="plain")
        BaseOperator(task_id="documented", doc_md="What it is for")
        BaseOperator(task_id="owned", owner="zoe, ann")
        PythonOperator(task_id="python", python_callable=work)
        BashOperator(task_id="bash", bash_command="true")
        BaseOperator(task_id="with_inlet", inlets=[TABLE])
        BaseOperator(task_id="with_outlet", outlets=[TABLE])
        KnowingOperator(task_id="own_extractor")
        quiet = BaseOperator(task_id="own_policy")
        quiet.params[POLICY] = {"hook_lineage": False}
        SilentOperator(task_id="silent")
    return dag


def change(case: str, task: Any, dag: Any, run: Any, instance: Any) -> None:  # noqa: ANN401, PLR0912
    """Make of an attempt what the case is about."""
    if case == "again":
        instance.try_number = 3
    elif case == "without_interval":
        run.data_interval_start = run.data_interval_end = None
    elif case == "half_interval":
        run.data_interval_end = None
    elif case == "without_date":
        run.logical_date = run.data_interval_start = run.data_interval_end = None
    elif case == "cleared":
        run.clear_number = 2
    elif case == "other_conf":
        run.conf = {"region": "north"}
    elif case == "child_of_other":
        run.conf = {"openlineage": PARENT}
    elif case == "late_outlet":
        task.outlets = [TABLE]
    elif case == "outlet_event":
        instance.get_template_context()["outlet_events"][TABLE].extra = {"rows": 3}
    elif case == "hook_lineage":
        get_hook_lineage_collector().add_output_asset(SimpleNamespace(), uri="file://host/tmp/seen")
    elif case == "late_policy":
        task.params[POLICY] = {"extract_operator_metadata": False}
    elif case == "late_secret":
        _secrets_masker().add_mask("nightly")
    elif case == "late_doc":
        task.doc = "Of today"
    elif case == "late_dag_doc":
        dag.doc_md = "Of today"
    elif case == "late_tag":
        dag.tags.add("today")
    elif case == "mapped":
        instance.map_index = 4


CHANGES = (
    *("again", "without_interval", "half_interval", "without_date", "cleared", "other_conf", "child_of_other"),
    *("late_outlet", "outlet_event", "hook_lineage", "late_policy", "late_doc", "late_dag_doc", "late_tag"),
    *("late_secret", "mapped", "failed", "skipped"),
)


def run_attempt(case: str, dag: Any) -> bool:  # noqa: ANN401
    """Run an attempt, and return whether the provider made its event."""
    os.environ[RECORDS] = f"{FOLDER}/{case}"
    task = dag.get_task(case if case in dag.task_ids else "plain")
    run = openlineage.make_run()
    run.logical_date, run.run_after = EARLIER, LATER
    run.data_interval_start, run.data_interval_end = EARLIER, LATER
    instance = RuntimeTaskInstance.model_construct(
        **{"id": UUID(int=1), "dag_version_id": UUID(int=2), "dag_id": dag.dag_id, "task_id": task.task_id},
        **{"run_id": "one", "try_number": 1, "map_index": -1, "task": task, "start_date": EARLIER, "is_mapped": False},
        bundle_instance=SimpleNamespace(name="one", version=None),
        _ti_context_from_server=TIRunContext(dag_run=run, max_tries=0),
    )
    change(case, task, dag, run, instance)
    own = sys.modules["airflow.providers.openlineage.plugins.listener"].get_openlineage_listener()
    made: list[Any] = []
    emit = own.adapter.emit

    def count(event: Any) -> Any:  # noqa: ANN401
        made.append(event)
        return emit(event)

    own.adapter.emit = count
    hook = get_listener_manager().hook
    if case == "failed":
        hook.on_task_instance_failed(previous_state="running", task_instance=instance, error=ValueError("no rows"))
    elif case == "skipped":
        hook.on_task_instance_skipped(previous_state="running", task_instance=instance)
    else:
        hook.on_task_instance_success(previous_state="running", task_instance=instance)
    return bool(made)


def main() -> None:
    """Prepare events as a zygote does, and run the cases."""
    openlineage.log.debug = lambda *said: print(*said, file=sys.stderr)  # type: ignore[method-assign]
    get_listener_manager()
    dag = make_dag()
    if MODE == "warm":
        assert openlineage.has_own_transport()
        lineage_work.leave_out()
        openlineage.warm()
        events = PreparedEvents()
        events.prepare({dag.dag_id: dag})
        lineage_event.tell_prepared(events)
        assert lineage_event.PATCH.is_applied()
    found = {}
    for case in (*dag.task_ids, *CHANGES):
        reader, writer = os.pipe()
        if os.fork() == 0:
            code = 1
            try:
                os.write(writer, b"1" if run_attempt(case, dag) else b"0")
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        said = os.read(reader, 1)
        os.close(reader)
        os.wait()
        assert said, case
        found[case] = said == b"1"
    print(json.dumps(found))


main()

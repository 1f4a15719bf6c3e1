"""Dashboards about tasks and Dags."""

from __future__ import annotations

from airfleet_provider.contract.dashboards.panels import Dashboard, PanelUnit, Query, lines, number, quantiles, table

# The objective: 99.9 % of the tasks start within this time.
START_S = 5
# The objective of the mean utilisation of workers.
UTILISATION = 0.7

LATENCY = Dashboard(
    "airfleet-latency",
    "Scheduling latency",
    "Do 99.9 % of the tasks start within 5 s, and where is the time?",
    (
        number(
            "In time, last hour",
            "The part of the tasks that started within 5 s.",
            PanelUnit.RATIO,
            "1 - airfleet:task_start:bad_ratio1h",
            limit=0.999,
            below=True,
        ),
        number(
            "In time, last day",
            "The part of the tasks that started within 5 s.",
            PanelUnit.RATIO,
            "1 - airfleet:task_start:bad_ratio1d",
            limit=0.999,
            below=True,
        ),
        number("Late, last hour", "Tasks that started later.", PanelUnit.COUNT, "airfleet:task_start:bad1h", limit=20),
        number(
            "Starts",
            "Tasks that start.",
            PanelUnit.PER_SECOND,
            "sum(rate(airfleet_task_start_seconds_count[5m]))",
        ),
        lines(
            "From may run to runs",
            "The whole time until a task runs.",
            PanelUnit.SECONDS,
            *quantiles("airfleet_task_start_seconds"),
            limit=START_S,
        ),
        lines(
            "By queue",
            "The time until a task runs, 95th percentile.",
            PanelUnit.SECONDS,
            quantiles("airfleet_task_start_seconds", "queue")[1],
            limit=START_S,
        ),
        lines(
            "Until queued",
            "The task waits for a slot of its slot pool and for the scheduler.",
            PanelUnit.SECONDS,
            *quantiles("airfleet_task_ready_seconds"),
        ),
        lines(
            "From queued to running",
            "The task waits for the broker, a worker and a warm process.",
            PanelUnit.SECONDS,
            *quantiles("airfleet_task_queue_seconds"),
        ),
        lines(
            "Budget",
            "How fast the budget of errors of 0.1 % burns: 1 is just within it.",
            PanelUnit.COUNT,
            Query("airfleet:task_start:bad_ratio5m / 0.001", "5 min"),
            Query("airfleet:task_start:bad_ratio1h / 0.001", "1 h"),
            Query("airfleet:task_start:bad_ratio6h / 0.001", "6 h"),
            limit=14.4,
        ),
        lines(
            "Scheduler",
            "Age of the youngest heartbeat of a scheduler.",
            PanelUnit.SECONDS,
            Query("airfleet_scheduler_loop_age_seconds", "scheduler"),
            limit=30,
        ),
        lines(
            "Oldest task in a queue",
            "Age of the oldest queued task.",
            PanelUnit.SECONDS,
            Query("airfleet_queue_head_age_seconds", "{{queue}}"),
            limit=300,
        ),
        lines(
            "Clocks",
            "Times that were negative because clocks differ.",
            PanelUnit.PER_SECOND,
            Query("rate(airfleet_task_clock_skew_total[5m])", "negative"),
        ),
    ),
)
POOLS = Dashboard(
    "airfleet-pools",
    "Pools and utilisation",
    "Are workers at 70 %, and which slot pool is full?",
    (
        number(
            "Utilisation",
            "Busy slots of all workers. The objective for the mean is 70 %.",
            PanelUnit.RATIO,
            "sum(airfleet_worker_slots_used) / sum(airfleet_worker_slots)",
            limit=0.95,
        ),
        number(
            "Utilisation, last day",
            "The mean of a day. The objective is 70 %.",
            PanelUnit.RATIO,
            "sum(avg_over_time(airfleet_worker_slots_used[1d])) / sum(avg_over_time(airfleet_worker_slots[1d]))",
        ),
        number("Queued", "Tasks that wait for a worker.", PanelUnit.COUNT, "sum(airfleet_queue_depth)"),
        number(
            "Waiting", "Tasks that wait for a slot of a slot pool.", PanelUnit.COUNT, "sum(airfleet_pool_waiting_tasks)"
        ),
        lines(
            "Utilisation by pool",
            "Busy slots of each pool's workers.",
            PanelUnit.RATIO,
            Query("airfleet_worker_slots_used / airfleet_worker_slots", "{{worker_pool}}"),
            limit=UTILISATION,
        ),
        lines(
            "Queues",
            "Tasks in the state queued.",
            PanelUnit.COUNT,
            Query("airfleet_queue_depth", "{{queue}}"),
        ),
        lines(
            "Slot pools",
            "Slots that queued and running tasks hold.",
            PanelUnit.COUNT,
            Query("airfleet_pool_slots_used", "{{pool}}"),
        ),
        lines(
            "Waiting for a slot",
            "Tasks in the state scheduled.",
            PanelUnit.COUNT,
            Query("airfleet_pool_waiting_tasks", "{{pool}}"),
        ),
        lines("By host", "Running tasks.", PanelUnit.COUNT, Query("airfleet_host_running_tasks", "{{host}}")),
        lines(
            "Oldest waiting task",
            "Age of the oldest task that waits for a slot.",
            PanelUnit.SECONDS,
            Query("airfleet_pool_head_age_seconds", "{{pool}}"),
        ),
        lines(
            "Task instances",
            "Unfinished task instances by state.",
            PanelUnit.COUNT,
            Query("sum by (state) (airfleet_task_instances)", "{{state}}"),
        ),
        lines(
            "Time of a try",
            "From the start of a try to its end.",
            PanelUnit.SECONDS,
            *quantiles("airfleet_task_run_seconds"),
        ),
    ),
)
DAGS = Dashboard(
    "airfleet-dags",
    "Dags",
    "What runs, fails, is late, or did not run?",
    (
        number("Overdue", "Dags that should have run and did not.", PanelUnit.COUNT, "airfleet_dags_overdue", limit=1),
        number("Import errors", "Files that do not load.", PanelUnit.COUNT, "sum(airfleet_import_errors)", limit=1),
        number("Unfinished runs", "Dag runs that are queued or run.", PanelUnit.COUNT, "sum(airfleet_dag_runs)"),
        number(
            "Failed runs, last hour",
            "Dag runs that failed.",
            PanelUnit.COUNT,
            'sum(increase(airfleet_dag_runs_total{state="failed"}[1h])) or vector(0)',
            limit=1,
        ),
        lines(
            "Ends of runs",
            "Dag runs that ended.",
            PanelUnit.PER_SECOND,
            Query("sum by (state) (rate(airfleet_dag_runs_total[5m]))", "{{state}}"),
        ),
        lines(
            "Ends of tries",
            "Tries of tasks that ended.",
            PanelUnit.PER_SECOND,
            Query("sum by (state) (rate(airfleet_task_tries_total[5m]))", "{{state}}"),
        ),
        table(
            "Failures, last hour",
            "Tries that failed for good, by Dag.",
            PanelUnit.COUNT,
            'topk(15, sum by (dag_id) (increase(airfleet_task_tries_total{state="failed"}[1h])))',
        ),
        table(
            "Repeated tries, last hour",
            "Tries that failed and are repeated, by Dag.",
            PanelUnit.COUNT,
            'topk(15, sum by (dag_id) (increase(airfleet_task_tries_total{state="up_for_retry"}[1h])))',
        ),
        table(
            "Overdue, by Dag",
            "Time since the next run was due.",
            PanelUnit.SECONDS,
            "topk(15, airfleet_dag_overdue_seconds)",
        ),
        table(
            "Oldest unfinished runs",
            "Age of the oldest unfinished run of a Dag.",
            PanelUnit.SECONDS,
            "topk(15, airfleet_dag_oldest_run_age_seconds)",
        ),
        table(
            "Last success",
            "When the last successful run ended, the oldest first.",
            PanelUnit.SECONDS,
            "topk(15, time() - airfleet_dag_last_success_timestamp_seconds)",
        ),
        table(
            "Slowest", "Time of the last successful run.", PanelUnit.SECONDS, "topk(15, airfleet_dag_last_run_seconds)"
        ),
        lines(
            "Delay of runs",
            "From the moment at which a run may start to its start.",
            PanelUnit.SECONDS,
            *quantiles("airfleet_dag_run_delay_seconds"),
        ),
        lines(
            "Time of runs",
            "From the start of a run to its end.",
            PanelUnit.SECONDS,
            *quantiles("airfleet_dag_run_seconds"),
        ),
        lines(
            "Promises at risk or late",
            "Open instances of `slas`, by rule.",
            PanelUnit.COUNT,
            Query('sum by (rule, state) (airfleet_sla_instances{state!="due"})', "{{rule}} {{state}}"),
        ),
        table(
            "Promises kept, last 30 days",
            "The part of the ended instances of `slas` that were met, by rule.",
            PanelUnit.RATIO,
            'sum by (rule) (increase(airfleet_sla_ended_total{state="met"}[30d]))'
            " / (sum by (rule) (increase(airfleet_sla_ended_total[30d])) > 0)",
        ),
        lines(
            "Lineage that waits",
            "Events of OpenLineage that a backend does not have yet.",
            PanelUnit.COUNT,
            Query("airfleet_lineage_waiting", "{{backend}}"),
            Query("airfleet_lineage_unread", "not read yet"),
        ),
        lines(
            "Records on hosts",
            "Age of the oldest file of events and spans that waits on a host.",
            PanelUnit.SECONDS,
            Query("airfleet_record_spool_oldest_seconds", "{{host}}"),
            limit=7200,
        ),
        lines("Dags", "Dags by state.", PanelUnit.COUNT, Query("airfleet_dags", "{{state}}"), width=24),
    ),
)

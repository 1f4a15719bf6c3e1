"""Every metric that airfleet exports, as data.

docs/reference/metrics.md is made from this table. Rules and dashboards may only use names that are in it, or names of
other exporters. Times are in seconds, sizes in bytes, and moments in seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

# The label value that stands for all values beyond the limit of a label.
OTHER = "_other"
# The limit of series that one agents process exports.
MOST_SERIES = 20_000

# Bounds of the buckets for the time until a task runs. The objective is 5 s, so most bounds are around it.
START_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0, 1800.0)
# Bounds of the buckets for the work of tasks and Dag runs.
RUN_BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 21_600.0, 86_400.0)
# Bounds of the buckets for the delay of Dag runs after the moment of their schedule.
DELAY_BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0)


class MetricKind(StrEnum):
    """The type of a metric, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Scope(StrEnum):
    """Which agents processes export a metric."""

    # Facts about the whole platform: only the active process exports them, so that no fact is there twice.
    PLATFORM = "platform"
    # Facts about one agents process: each exports its own.
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `buckets` are the upper bounds of a histogram without the last, which is infinite.

    `most` limits the combinations of label values. The values beyond it are exported together, as `OTHER`.
    """

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    most: int = 1
    scope: Scope = Scope.PLATFORM

    @property
    def series(self) -> int:
        """Return the number of series that the metric has at most."""
        return self.most * (len(self.buckets) + 3 if self.buckets else 1)


# A limit holds for a metric. Dags have the most; a queue or pool that a Dag names need not exist anywhere.
DAGS, QUEUES, COMBINATIONS, HOSTS, PROMISES, FEW = 1000, 60, 60, 200, 300, 20
_QUEUE_AND_POOL = ("queue", "pool")


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str, most: int = COMBINATIONS) -> Metric:
    return Metric(name, MetricKind.HISTOGRAM, text, labels, buckets, most)


def _counter(name: str, text: str, *labels: str, most: int = 1, scope: Scope = Scope.PLATFORM) -> Metric:
    return Metric(name, MetricKind.COUNTER, text, labels, (), most, scope)


def _gauge(name: str, text: str, *labels: str, most: int = 1, scope: Scope = Scope.PLATFORM) -> Metric:
    return Metric(name, MetricKind.GAUGE, text, labels, (), most, scope)


_TASKS = (
    _histogram(
        "airfleet_task_ready_seconds",
        "Time of a task from `scheduled` to `queued`: it waits for a slot of its pool and for the scheduler.",
        START_BUCKETS,
        *_QUEUE_AND_POOL,
    ),
    _histogram(
        "airfleet_task_queue_seconds",
        "Time of a task from `queued` to `running`: it waits for the broker, a worker and a warm process.",
        START_BUCKETS,
        *_QUEUE_AND_POOL,
    ),
    _histogram(
        "airfleet_task_start_seconds",
        "Time of a task from when it may run to `running`: the objective is 5 s. A task may run when it is `scheduled`;"
        " if more tasks wait than its slot pool or `max_active_tasks` of its run has room for, when it is `queued`.",
        START_BUCKETS,
        *_QUEUE_AND_POOL,
    ),
    _histogram("airfleet_task_run_seconds", "Time of a try from its start to its end.", RUN_BUCKETS, *_QUEUE_AND_POOL),
    _counter(
        "airfleet_task_tries_total",
        "Tries that ended, by the state in which they ended; `up_for_retry` means that another try follows.",
        "dag_id",
        "state",
        most=3 * DAGS,
    ),
    _counter(
        "airfleet_task_clock_skew_total",
        "Times that were negative, because hosts' clocks differ. They were counted as 0.",
    ),
    _counter(
        "airfleet_task_events_lost_total",
        "Starts and ends of tasks whose rows were deleted before they were read. No other metric counts them.",
    ),
    _gauge("airfleet_task_instances", "Unfinished task instances.", "state", *_QUEUE_AND_POOL, most=COMBINATIONS * 5),
    _gauge("airfleet_queue_depth", "Tasks in the state `queued`.", "queue", most=QUEUES),
    _gauge("airfleet_queue_head_age_seconds", "Age of the oldest queued task.", "queue", most=QUEUES),
    _gauge("airfleet_pool_slots", "Slots of a slot pool; -1 means no limit.", "pool", most=QUEUES),
    _gauge("airfleet_pool_slots_used", "Slots that queued and running tasks hold.", "pool", most=QUEUES),
    _gauge("airfleet_pool_waiting_tasks", "Tasks in the state `scheduled`.", "pool", most=QUEUES),
    _gauge("airfleet_pool_head_age_seconds", "Age of the oldest scheduled task.", "pool", most=QUEUES),
    _gauge("airfleet_worker_slots", "Tasks that the workers of a pool can run at once.", "worker_pool", most=QUEUES),
    _gauge("airfleet_worker_slots_used", "Running tasks of the queues of a worker pool.", "worker_pool", most=QUEUES),
    _gauge(
        "airfleet_breaker_state",
        "State of a circuit breaker: 0 closed, 1 half-open, 2 open.",
        "breaker",
        most=QUEUES,
    ),
    _gauge("airfleet_breaker_open_seconds", "Time for which a breaker has not been closed.", "breaker", most=QUEUES),
    _gauge("airfleet_breaker_waiting_tasks", "Tasks that wait for a breaker.", "breaker", most=QUEUES),
    _gauge("airfleet_limit_waiting_tasks", "Tasks that wait for a limit of a service.", "limit", most=QUEUES),
    _gauge("airfleet_limit_active_tasks", "Queued, running and deferred tasks of a limit.", "limit", most=QUEUES),
    _gauge("airfleet_limit_starts", "Starts that a limit has allowed in the last minute.", "limit", most=QUEUES),
    _gauge(
        "airfleet_limit_most_starts", "Starts a minute that a limit allows, if it limits them.", "limit", most=QUEUES
    ),
    _gauge(
        "airfleet_limit_most_active_tasks",
        "Tasks that a limit allows at once, if it limits them.",
        "limit",
        most=QUEUES,
    ),
    _gauge("airfleet_host_running_tasks", "Running tasks, by the host that runs them.", "host", most=HOSTS),
)
_DAGS = (
    _counter("airfleet_dag_runs_total", "Dag runs that ended, by their state.", "dag_id", "state", most=2 * DAGS),
    _histogram(
        "airfleet_dag_run_seconds", "Time of a Dag run from its start to its end.", RUN_BUCKETS, "run_type", most=FEW
    ),
    _histogram(
        "airfleet_dag_run_delay_seconds",
        "Time of a Dag run from the moment at which it may start (`run_after`) to its start.",
        DELAY_BUCKETS,
        "run_type",
        most=FEW,
    ),
    _gauge("airfleet_dag_runs", "Unfinished Dag runs.", "state", most=FEW),
    _gauge(
        "airfleet_dag_oldest_run_age_seconds",
        "Age of the oldest unfinished run of a Dag, from the moment at which it might start.",
        "dag_id",
        most=DAGS,
    ),
    _gauge("airfleet_dag_last_run_seconds", "Time that the last successful run took.", "dag_id", most=DAGS),
    _gauge(
        "airfleet_dag_last_run_delay_seconds",
        "Delay of the last started run of a Dag after its schedule.",
        "dag_id",
        most=DAGS,
    ),
    _gauge(
        "airfleet_dag_last_success_timestamp_seconds", "End of the last successful run of a Dag.", "dag_id", most=DAGS
    ),
    _gauge(
        "airfleet_dag_overdue_seconds",
        "Time since the moment at which the next run of an unpaused Dag should have been created; 0 if it is not due.",
        "dag_id",
        most=DAGS,
    ),
    _gauge("airfleet_dags_overdue", "Unpaused Dags whose next run is more than 60 s overdue."),
    _gauge("airfleet_dags", "Dags: active, paused, stale, or broken by an import error.", "state", most=FEW),
    _gauge("airfleet_import_errors", "Dag files that do not load.", "bundle", most=FEW),
)
_PARTS = (
    _gauge("airfleet_lease_age_seconds", "Time since the last renewal of a lease.", "lease", most=FEW),
    _gauge("airfleet_lease_epoch", "Number of the term of a lease: it grows at each fail-over.", "lease", most=FEW),
    _gauge("airfleet_lease_holder", "1 for the holder of a lease.", "lease", "holder", most=FEW),
    _gauge("airfleet_scheduler_loop_age_seconds", "Age of the youngest heartbeat of a running scheduler."),
    _gauge(
        "airfleet_scheduler_candidate_age_seconds",
        "Time since a scheduler agent last reported, by its seat and state.",
        "seat",
        "state",
        most=FEW,
    ),
    _gauge(
        "airfleet_component_heartbeat_age_seconds",
        "Age of the youngest heartbeat of a component of Airflow in the database.",
        "component",
        "host",
        most=HOSTS,
    ),
    _gauge(
        "airfleet_component_up",
        "Whether a component answers: HTTP servers to a request, the releaser by the lock that it holds.",
        "component",
        "host",
        most=HOSTS,
    ),
    _gauge("airfleet_release_info", "1 for the live release of a bundle.", "bundle", "release", most=FEW),
    _gauge("airfleet_release_promoted_timestamp_seconds", "When the live release went live.", "bundle", most=FEW),
    _gauge("airfleet_deployments_unfinished", "Deployments that have not ended, by their state.", "state", most=FEW),
    _gauge("airfleet_deployments_failed", "Deployments of the last 24 hours that failed."),
)
_DATABASE = (
    _gauge("airfleet_database_size_bytes", "Size of the metadata database."),
    _gauge("airfleet_table_size_bytes", "Size of a table with its indexes.", "table", most=FEW),
    _gauge("airfleet_table_rows", "Rows of a table, as PostgreSQL estimates them.", "table", most=FEW),
    _gauge("airfleet_table_dead_rows", "Dead rows of a table, as PostgreSQL estimates them.", "table", most=FEW),
    _gauge("airfleet_database_connections", "Connections to the server, by their state.", "state", most=FEW),
    _gauge("airfleet_database_connections_max", "Connections that the server accepts."),
    _gauge("airfleet_database_longest_transaction_seconds", "Age of the oldest open transaction of a client."),
    _gauge("airfleet_database_waiting_sessions", "Sessions that wait for a lock."),
    _gauge("airfleet_database_transaction_id_age", "Age of the oldest unfrozen transaction id."),
    _gauge("airfleet_replication_lag_seconds", "Time by which a standby is behind.", "standby", most=FEW),
    _gauge("airfleet_replication_lag_bytes", "WAL that a standby has not replayed.", "standby", most=FEW),
    _gauge("airfleet_wal_archived_timestamp_seconds", "When the last WAL file was archived."),
    _gauge("airfleet_wal_archive_failing", "Whether the last attempt to archive a WAL file failed."),
    _gauge("airfleet_backup_timestamp_seconds", "When the last backup of the databases ended."),
    _gauge("airfleet_archive_timestamp_seconds", "When an archive of the runs of all Dags last ended with success."),
    _gauge(
        "airfleet_archive_complete_timestamp_seconds",
        "When an archive by the timetable last left no run; while none has, when the first one ended.",
    ),
    _gauge("airfleet_archive_left_runs", "Old runs for which the last archive by the timetable had no time."),
)
_POOLER = (
    _gauge("airfleet_pooler_up", "Whether PgBouncer says how its pools are. On one machine there is none."),
    _gauge(
        "airfleet_pooler_clients",
        "Clients of a database, by whether they have a connection to the server: `active`; `waiting` for one.",
        *("database", "state"),
        most=COMBINATIONS,
    ),
    _gauge(
        "airfleet_pooler_connections",
        "Connections of PgBouncer to the server, by their state: `active` has a client.",
        *("database", "state"),
        most=COMBINATIONS,
    ),
    _gauge(
        "airfleet_pooler_connections_max",
        "Connections of PgBouncer to the server that each login may have at once.",
        "database",
        most=COMBINATIONS,
    ),
    _gauge(
        "airfleet_pooler_longest_wait_seconds",
        "How long the first client in the queue has waited for a connection; 0 if none waits.",
        "database",
        most=COMBINATIONS,
    ),
    _counter("airfleet_pooler_transactions_total", "Transactions of clients.", "database", most=COMBINATIONS),
    _counter(
        "airfleet_pooler_transaction_seconds_total", "Time in transactions of clients.", "database", most=COMBINATIONS
    ),
    _counter(
        "airfleet_pooler_wait_seconds_total",
        "Time that clients have waited for a connection.",
        "database",
        most=COMBINATIONS,
    ),
)
_OWN = tuple(
    Metric(name, kind, text, labels, (), most, Scope.PROCESS)
    for name, kind, text, labels, most in (
        ("airfleet_build_info", MetricKind.GAUGE, "1 for the version of airfleet.", ("version",), 1),
        ("airfleet_agents_active", MetricKind.GAUGE, "Whether this agents process holds the lease of agents.", (), 1),
        ("airfleet_database_up", MetricKind.GAUGE, "Whether the database answered this process last time.", (), 1),
        ("airfleet_agents_loop_runs_total", MetricKind.COUNTER, "Turns of a loop that succeeded.", ("loop",), FEW),
        ("airfleet_agents_loop_failures_total", MetricKind.COUNTER, "Turns of a loop that failed.", ("loop",), FEW),
        (
            "airfleet_agents_loop_age_seconds",
            MetricKind.GAUGE,
            "Time since a loop last succeeded, or since it began to wait for that.",
            ("loop",),
            FEW,
        ),
        ("airfleet_agents_loop_seconds_total", MetricKind.COUNTER, "Time that a loop has worked.", ("loop",), FEW),
        (
            "airfleet_agents_loop_database_seconds_total",
            MetricKind.COUNTER,
            "Time that a loop has waited for the database.",
            ("loop",),
            FEW,
        ),
        (
            "airfleet_metrics_age_seconds",
            MetricKind.GAUGE,
            "Age of the facts that were read. Facts that are too old are not exported.",
            ("collector",),
            FEW,
        ),
        ("airfleet_metrics_series", MetricKind.GAUGE, "Series that this process exports.", (), 1),
        (
            "airfleet_metrics_labels_dropped",
            MetricKind.GAUGE,
            "Combinations of label values that are exported together as `_other`.",
            ("metric",),
            100,
        ),
    )
)
_SLAS = (
    _gauge(
        "airfleet_sla_instances",
        "Instances of promises of `slas` that are open, by their state: `due`, `at-risk` or `late`.",
        *("rule", "kind", "state"),
        most=PROMISES,
    ),
    _counter(
        "airfleet_sla_ended_total",
        "Instances of promises of `slas` that ended, as `met` or `missed`.",
        *("rule", "kind", "state"),
        most=PROMISES,
    ),
)
_TRACES = (
    _gauge("airfleet_traces_waiting", "Ended Dag runs whose trace the collector of `tracing` does not have yet."),
    _gauge("airfleet_traces_oldest_seconds", "Time since the end of the oldest of them; 0 if there is none."),
    _counter(
        "airfleet_traces_runs_total", "Traces that were sent, or given up because of their age.", "outcome", most=FEW
    ),
    _counter("airfleet_traces_spans_total", "Spans that the collector has taken or rejected.", "outcome", most=FEW),
)
_RECORDS = (
    _gauge("airfleet_lineage_unread", "Events of OpenLineage in the database that the agents have not read yet."),
    _gauge(
        "airfleet_lineage_waiting", "Events that a backend of `openlineage` does not have yet.", "backend", most=FEW
    ),
    _gauge(
        "airfleet_lineage_oldest_seconds",
        "Time since the oldest of them was read; 0 if there is none.",
        "backend",
        most=FEW,
    ),
    _counter(
        "airfleet_lineage_events_total",
        "Events of OpenLineage that were `read`, `sent` to a backend, `given up`, or of an `unknown` attempt.",
        "outcome",
        most=FEW,
    ),
    _counter("airfleet_records_cut_total", "Files of records that end early, because a task wrote too much."),
    _gauge(
        "airfleet_record_spool_files",
        "Files of records of earlier attempts on a host that the API of tasks does not have yet.",
        "host",
        most=HOSTS,
    ),
    _gauge(
        "airfleet_record_spool_oldest_seconds",
        "Time since the oldest of them was written; 0 if there is none.",
        "host",
        most=HOSTS,
    ),
)
METRICS: Mapping[str, Metric] = {
    one.name: one for one in (*_TASKS, *_DAGS, *_SLAS, *_TRACES, *_RECORDS, *_PARTS, *_DATABASE, *_POOLER, *_OWN)
}
GROUPS: tuple[tuple[str, tuple[Metric, ...]], ...] = (
    ("Tasks", _TASKS),
    ("Dags and Dag runs", _DAGS),
    ("Promises", _SLAS),
    ("Traces", _TRACES),
    ("Records of tasks: lineage and spans", _RECORDS),
    ("Schedulers, components and releases", _PARTS),
    ("Database, backups and archive", _DATABASE),
    ("PgBouncer, on a fleet", _POOLER),
    ("The agents process itself", _OWN),
)

"""Dashboards about machines, stores and releases."""

from __future__ import annotations

from airfleet_provider.contract.dashboards.panels import Dashboard, PanelUnit, Query, lines, number, quantiles, table

DISKS = 'fstype!~"tmpfs|ramfs|squashfs|overlay|fuse.*"'

FLEET = Dashboard(
    "airfleet-fleet",
    "Fleet",
    "Is everything up, and which machine is short of something?",
    (
        number(
            "Scheduler",
            "1 while a scheduler works.",
            PanelUnit.YES,
            "airfleet:scheduler:available",
            limit=1,
            below=True,
        ),
        number(
            "Scheduler, last day",
            "The part of the last day in which a scheduler worked. The objective is 99.9 %.",
            PanelUnit.RATIO,
            "1 - airfleet:scheduler:bad_ratio1d",
            limit=0.999,
            below=True,
        ),
        number(
            "Targets down", "Exporters that do not answer.", PanelUnit.COUNT, "count(up == 0) or vector(0)", limit=1
        ),
        number(
            "Alerts",
            "Alerts that fire, without the watchdog.",
            PanelUnit.COUNT,
            'count(ALERTS{alertstate="firing",alertname!="Watchdog"}) or vector(0)',
            limit=1,
        ),
        lines(
            "Leases",
            "Time since the holder of a lease renewed it.",
            PanelUnit.SECONDS,
            Query("airfleet_lease_age_seconds", "{{lease}}"),
        ),
        lines(
            "Heartbeats",
            "Age of the last heartbeat of each component.",
            PanelUnit.SECONDS,
            Query("airfleet_component_heartbeat_age_seconds", "{{component}} {{host}}"),
            limit=60,
        ),
        table("Components", "1 for a component that answers.", PanelUnit.COUNT, "airfleet_component_up"),
        table("Holders of leases", "1 for the holder of each lease.", PanelUnit.COUNT, "airfleet_lease_holder"),
        lines(
            "CPU",
            "The part of the CPUs that is not idle.",
            PanelUnit.RATIO,
            Query('1 - avg by (host) (rate(node_cpu_seconds_total{mode="idle"}[5m]))', "{{host}}"),
            limit=0.9,
        ),
        lines(
            "Memory",
            "The part of the memory that programs use.",
            PanelUnit.RATIO,
            Query("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "{{host}}"),
            limit=0.9,
        ),
        lines(
            "Free disk",
            "The free part of each file system.",
            PanelUnit.RATIO,
            Query(
                f"node_filesystem_avail_bytes{{{DISKS}}} / node_filesystem_size_bytes{{{DISKS}}}",
                "{{host}} {{mountpoint}}",
            ),
        ),
        lines(
            "Load", "Processes that run or wait for a CPU or disk.", PanelUnit.COUNT, Query("node_load1", "{{host}}")
        ),
        lines(
            "Web hosts that answer",
            "Web hosts that HAProxy of a host finds healthy, for tasks (execution) and people (web).",
            PanelUnit.COUNT,
            Query('haproxy_backend_active_servers{proxy=~"execution|web"}', "{{host}} {{proxy}}"),
        ),
        lines(
            "Answers of web hosts",
            "Answers by HAProxy, by their class; 5xx are errors.",
            PanelUnit.PER_SECOND,
            Query("sum by (proxy, code) (rate(haproxy_backend_http_responses_total[5m]))", "{{proxy}} {{code}}"),
        ),
    ),
)
DATABASE = Dashboard(
    "airfleet-database",
    "Database",
    "Connections, locks, dead rows, replicas, backups.",
    (
        number(
            "Connections",
            "The part of the allowed connections that is open.",
            PanelUnit.RATIO,
            "sum(airfleet_database_connections) / max(airfleet_database_connections_max)",
            limit=0.85,
        ),
        number(
            "Oldest transaction",
            "Age of the oldest open transaction of a client.",
            PanelUnit.SECONDS,
            "airfleet_database_longest_transaction_seconds",
            limit=1800,
        ),
        number("Size", "Size of the metadata database.", PanelUnit.BYTES, "airfleet_database_size_bytes"),
        number(
            "Age of the backup",
            "Time since the last backup ended.",
            PanelUnit.SECONDS,
            "time() - airfleet_backup_timestamp_seconds",
        ),
        lines(
            "Connections by state",
            "Connections to the server.",
            PanelUnit.COUNT,
            Query("airfleet_database_connections", "{{state}}"),
        ),
        lines(
            "Sessions that wait",
            "Sessions that wait for a lock.",
            PanelUnit.COUNT,
            Query("airfleet_database_waiting_sessions", "waiting"),
        ),
        lines(
            "Pools of PgBouncer",
            "The part of PgBouncer's connections to a database that have a client.",
            PanelUnit.RATIO,
            Query(
                'sum by (database) (airfleet_pooler_connections{state="active"})'
                " / (max by (database) (airfleet_pooler_connections_max) > 0)",
                "{{database}}",
            ),
            limit=1,
        ),
        lines(
            "Clients that wait for PgBouncer",
            "Clients without a connection to the server.",
            PanelUnit.COUNT,
            Query('airfleet_pooler_clients{state="waiting"}', "{{database}}"),
        ),
        lines(
            "Wait for PgBouncer",
            "How long the first client in the queue has waited, and how long a transaction waits in the mean.",
            PanelUnit.SECONDS,
            Query("airfleet_pooler_longest_wait_seconds", "{{database}}: first"),
            Query(
                "rate(airfleet_pooler_wait_seconds_total[5m]) / (rate(airfleet_pooler_transactions_total[5m]) > 0)",
                "{{database}}: mean",
            ),
            limit=1,
        ),
        lines(
            "Transactions",
            "Commits and roll-backs of a database.",
            PanelUnit.PER_SECOND,
            Query('rate(pg_stat_database_xact_commit{datname!~"template.*|"}[5m])', "{{host}} {{datname}}"),
        ),
        lines(
            "Read from memory",
            "The part of the read pages that was in memory.",
            PanelUnit.RATIO,
            Query(
                "sum by (host) (rate(pg_stat_database_blks_hit[5m])) / (sum by (host)"
                " (rate(pg_stat_database_blks_hit[5m]) + rate(pg_stat_database_blks_read[5m])) > 0)",
                "{{host}}",
            ),
        ),
        lines(
            "Tables", "Size of the largest tables.", PanelUnit.BYTES, Query("airfleet_table_size_bytes", "{{table}}")
        ),
        lines(
            "Dead rows",
            "The part of the rows that is dead.",
            PanelUnit.RATIO,
            Query(
                "airfleet_table_dead_rows / (airfleet_table_rows + airfleet_table_dead_rows > 0)",
                "{{table}}",
            ),
            limit=0.2,
        ),
        lines(
            "Replicas",
            "Time by which a replica is behind.",
            PanelUnit.SECONDS,
            Query("airfleet_replication_lag_seconds", "{{standby}}"),
            limit=60,
        ),
        lines(
            "Time of etcd's writes",
            "The mean time until a write of etcd is on its disk. Patroni waits for it.",
            PanelUnit.SECONDS,
            Query(
                "rate(etcd_disk_wal_fsync_duration_seconds_sum[5m])"
                " / (rate(etcd_disk_wal_fsync_duration_seconds_count[5m]) > 0)",
                "{{host}}",
            ),
            limit=0.1,
        ),
        lines(
            "Leaders of etcd",
            "How often the voters of etcd agreed on another leader within an hour.",
            PanelUnit.COUNT,
            Query("increase(etcd_server_leader_changes_seen_total[1h])", "{{host}}"),
        ),
        lines(
            "Transaction ids",
            "Age of the oldest transaction id that is not frozen. PostgreSQL stops at 2.1 billion.",
            PanelUnit.COUNT,
            Query("airfleet_database_transaction_id_age", "age"),
            limit=1e9,
        ),
    ),
)
BROKER = Dashboard(
    "airfleet-broker",
    "Broker",
    "Alarms, memory, messages, consumers.",
    (
        number(
            "Alarms",
            "Alarms for which RabbitMQ blocks senders.",
            PanelUnit.COUNT,
            "sum(rabbitmq_alarms_memory_used_watermark) + sum(rabbitmq_alarms_free_disk_space_watermark)",
            limit=1,
        ),
        number("Nodes", "Nodes that answer.", PanelUnit.COUNT, 'count(rabbitmq_build_info{job="rabbitmq"})'),
        number("Connections", "Connections of clients.", PanelUnit.COUNT, "sum(rabbitmq_connections)"),
        number("Consumers", "Workers that take messages.", PanelUnit.COUNT, "sum(rabbitmq_consumers)"),
        lines(
            "Messages ready",
            "Messages that wait in a queue.",
            PanelUnit.COUNT,
            Query("max by (queue) (rabbitmq_detailed_queue_messages_ready)", "{{queue}}"),
        ),
        lines(
            "Messages that workers hold",
            "Messages without an acknowledgement: their tasks run.",
            PanelUnit.COUNT,
            Query("max by (queue) (rabbitmq_detailed_queue_messages_unacked)", "{{queue}}"),
        ),
        lines(
            "Consumers by queue",
            "Workers that take messages of a queue.",
            PanelUnit.COUNT,
            Query("max by (queue) (rabbitmq_detailed_queue_consumers)", "{{queue}}"),
        ),
        lines(
            "Memory",
            "Memory of a node, as a part of its limit.",
            PanelUnit.RATIO,
            Query(
                "rabbitmq_process_resident_memory_bytes / rabbitmq_resident_memory_limit_bytes",
                "{{host}}",
            ),
            limit=1,
        ),
        lines(
            "Free disk",
            "Free disk of a node beyond its limit.",
            PanelUnit.BYTES,
            Query("rabbitmq_disk_space_available_bytes - rabbitmq_disk_space_available_limit_bytes", "{{host}}"),
        ),
        lines(
            "Published",
            "Messages from senders.",
            PanelUnit.PER_SECOND,
            Query("sum(rate(rabbitmq_global_messages_received_total[5m]))", "published"),
            Query("sum(rate(rabbitmq_global_messages_acknowledged_total[5m]))", "acknowledged"),
        ),
    ),
)
RELEASES = Dashboard(
    "airfleet-releases",
    "Releases",
    "What is live since when, and what changed with it?",
    (
        number(
            "Age of the live release",
            "Time since the live release went live.",
            PanelUnit.SECONDS,
            "time() - airfleet_release_promoted_timestamp_seconds",
            legend="{{bundle}}",
        ),
        number(
            "Unfinished deployments",
            "Deployments that have not ended.",
            PanelUnit.COUNT,
            "sum(airfleet_deployments_unfinished) or vector(0)",
        ),
        number(
            "Failed deployments, last day",
            "Deployments that failed.",
            PanelUnit.COUNT,
            "airfleet_deployments_failed",
            limit=1,
        ),
        number("Import errors", "Files that do not load.", PanelUnit.COUNT, "sum(airfleet_import_errors)", limit=1),
        table("Live releases", "1 for the live release of a bundle.", PanelUnit.COUNT, "airfleet_release_info"),
        table("Versions", "The version of airfleet on each host.", PanelUnit.COUNT, "airfleet_build_info"),
        lines(
            "Failures",
            "The part of the tries that failed for good.",
            PanelUnit.RATIO,
            Query(
                'sum(rate(airfleet_task_tries_total{state="failed"}[5m]))'
                " / (sum(rate(airfleet_task_tries_total[5m])) > 0)",
                "failed",
            ),
        ),
        lines(
            "From may run to runs",
            "The whole time until a task runs.",
            PanelUnit.SECONDS,
            *quantiles("airfleet_task_start_seconds"),
            limit=5,
        ),
        lines(
            "Ends of runs",
            "Dag runs that ended.",
            PanelUnit.PER_SECOND,
            Query("sum by (state) (rate(airfleet_dag_runs_total[5m]))", "{{state}}"),
            width=24,
        ),
    ),
)

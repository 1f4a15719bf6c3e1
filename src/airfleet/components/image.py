"""The image: one process that has imported Airflow. The runner forks every Airflow process from it."""

from __future__ import annotations

from airfleet.components.health import ReadyCheck
from airfleet.components.model import Component, Process, Site
from airfleet_provider.contract.fork_protocol import THEN

# What more than one component needs, imported and built once before the forks. A process shares the memory of the image
# as long as neither writes to it, so each module here is in memory once. Components import the rest in parallel.
#
# What the job `metadata` needs. It runs while the image imports the rest.
FIRST_MODULES = (
    "airflow.cli.cli_parser",
    "airflow.__main__",
    "alembic.autogenerate",
    "alembic.command",
    # Without these calls, every process would make them at its first query, for most of a second.
    "airflow.models:import_all_models",
    "sqlalchemy.orm:configure_mappers",
    # The metadata job is forked before the others.
    "airfleet_provider.compat.patches.first_migration:record_no_first_migration",
)
OTHER_MODULES = (
    # Before the first route is made.
    "airfleet_provider.compat.patches.deferred_routes:defer_routes",
    "airflow.api_fastapi.app",
    "airflow.api_fastapi.execution_api.app",
    "airflow.api_fastapi.execution_api.routes",
    "airfleet_provider.access.manager",
    "airflow.providers.fab.www.security_appless",
    # Airflow imports these only when a component already runs: each would hold them, and wait for them, by itself.
    "airflow.utils.process_utils",
    "airflow.utils.serve_logs",
    "daemon",
    # What two components preload. Most of what these import is common to scheduler, triggerer and Dag processor.
    "airflow.cli.commands.api_server_command",
    "airflow.dag_processing.dagbag",
    "airflow.dag_processing.manager",
    "airflow.jobs.scheduler_job_runner",
    "airflow.jobs.triggerer_job_runner",
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.definitions.connection",
    "airflow.sdk._shared.logging.remote",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    # A component that makes these classes after its fork copies pages all over the heap (ADR 109).
    "airflow.executors.base_executor",
    "airfleet_provider.execution_api.command",
    "airfleet_provider.releases.agent",
    "airfleet_provider.scheduler_wakeup.wakeup",
    "airfleet_provider.breakers.gate",
    "airfleet_provider.compat.patches.incremental_scheduling",
    "airfleet_provider.compat.patches.task_start",
    # Again: the modules above brought models of their own.
    "sqlalchemy.orm:configure_mappers",
    # A command that is forked does not list the provider's commands again, where other processes make these patches.
    "airfleet_provider.compat.patches.db_clean:narrow_cleanup",
    "airfleet_provider.compat.patches.plain_tables:lay_out_tables",
    "airfleet_provider.compat.patches.dag_lookup:look_up_stored_dags",
    "airfleet_provider.compat.calls.task_client:keep_parts",
    # Airflow keeps the parser of its command line, which every component builds.
    "airflow.cli.cli_parser:get_parser",
    # After the parser, whose commands of airfleet's keep the warning about graphviz away. 32 ms of each `dags` command.
    "airflow.cli.commands.dag_command",
    "airfleet_provider.compat.patches.dag_list:list_dags_by_rows",
    "airfleet_provider.compat.patches.graph_drawing:name_missing_graphviz",
)
MODULES = (*FIRST_MODULES, *OTHER_MODULES)

# What scheduler and worker need of Celery. None of these reads a setting.
CELERY_MODULES = (
    "celery.backends.database.session",
    "celery.canvas",
    "celery.utils.quorum_queues",
    "celery.worker.worker",
    "kombu.transport.native_delayed_delivery",
    "kombu.serialization",
    "amqp.connection",
    "concurrent.futures.process",
    "multiprocessing.queues",
)

NAME = "image"
# What is forked from the part of the image that has no secrets, and its main function (ADR 108).
KINDS = (
    "zygote-pool=airfleet_provider.task_runtime.pool_launcher:main_of_fork",
    "parser=airfleet_provider.releases.parser_process:main_of_fork",
)


def describe(site: Site) -> Component:
    """Describe the image. Its runner appends a file descriptor to the command, and sends requests to fork there."""
    celery = CELERY_MODULES if site.broker or site.outside_broker else ()
    modules = (*FIRST_MODULES, THEN, *celery, *OTHER_MODULES)
    command = (str(site.python), "-P", "-m", "airfleet_provider.task_runtime.task_image", *KINDS, *modules)
    return Component(name=NAME, processes=(Process(name=NAME, commands=(command,), health=ReadyCheck()),))

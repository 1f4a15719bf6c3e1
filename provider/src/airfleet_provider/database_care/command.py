"""`airflow airfleet care`: what `airfleet db care` runs where the database can be reached."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import asdict
from typing import Any

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.database_care import agent, facts, rules
from airfleet_provider.database_care.facts import DatabaseFacts
from airfleet_provider.processes import command_line


def run_command(arguments: argparse.Namespace) -> None:
    """Care for the database, show what would be done, or do what goes with a migration of Airflow.

    Raises:
        SystemExit: with 1, if a step failed.
    """
    with closing(metadata_db.connect("airfleet care")) as connection:
        match arguments.action:
            case "give-back":
                if agent.give_back(connection):
                    print(f"the index {rules.HEARTBEAT_INDEX} is back, for migrations of Airflow")
            case "take-again":
                if agent.take_again(connection):
                    print(f"the index {rules.HEARTBEAT_INDEX} is dropped again")
            case "add-indexes":
                for one in agent.add_indexes(connection):
                    if one.error:
                        command_line.say(
                            f"{one.step.target}: {one.error}: the index is missing, so its queries are slower;"
                            " `airfleet db care` makes it"
                        )
                    else:
                        print(f"{one.step.kind}: {one.step.target}: done in {one.took_s} s")
            case "plan":
                _show_plan(facts.observe(metadata_db.query_with(connection)), as_json=arguments.json)
            case _:
                _show_report(agent.care(connection, report=command_line.say), as_json=arguments.json)


def _show_plan(found: DatabaseFacts, *, as_json: bool) -> None:
    steps, alarms = rules.plan(found), rules.list_alarms(found)
    if as_json:
        command_line.print_json(
            {
                "now": summarise(found),
                "steps": [asdict(one) for one in steps],
                "alarms": [asdict(one) for one in alarms],
            }
        )
        return
    for step in steps:
        print(f"{step.kind}: {step.target}: {step.reason}\n    {step.sql}")
    if not steps:
        command_line.say("nothing to do")
    for alarm in alarms:
        print(f"alarm: {alarm.name}: {alarm.text}")


def _show_report(report: agent.CareReport, *, as_json: bool) -> None:
    before, after = summarise(report.before), summarise(report.after)
    failed = [one for one in report.done if one.error]
    if as_json:
        steps = [{**asdict(one.step), "error": one.error, "took_s": one.took_s} for one in report.done]
        alarms = [asdict(one) for one in report.alarms]
        command_line.print_json({"before": before, "steps": steps, "after": after, "alarms": alarms})
    else:
        for one in report.done:
            print(f"{one.step.kind}: {one.step.target}: {one.error or f'done in {one.took_s} s'}")
        print(f"{'':32}{'before':>14}{'after':>14}")
        for key, value in before.items():
            print(f"{key.replace('_', ' '):32}{value:>14}{after[key]:>14}")
        for alarm in report.alarms:
            print(f"alarm: {alarm.name}: {alarm.text}")
    if failed:
        raise SystemExit(1)


def summarise(found: DatabaseFacts) -> dict[str, Any]:
    """The figures that care changes."""
    tasks = found.tables.get("task_instance")
    return {
        "database_bytes": sum(one.bytes for one in found.tables.values()),
        "index_bytes": sum(one.index_bytes for one in found.tables.values()),
        "task_instance_index_bytes": tasks.index_bytes if tasks else 0,
        "dead_rows": sum(one.dead_rows for one in found.tables.values()),
        "foreign_keys_without_index": len(rules.list_unindexed(found)),
        "heartbeat_index": "present" if rules.HEARTBEAT_INDEX in found.indexes else "dropped",
        "tuned_tables": sum("autovacuum_vacuum_scale_factor" in one.options for one in found.tables.values()),
        "oldest_transaction_id_age": found.xid_age,
        "connections": f"{found.connections}/{found.max_connections}",
    }

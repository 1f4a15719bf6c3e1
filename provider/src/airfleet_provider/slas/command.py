"""`airflow airfleet sla`: what `airfleet sla` runs where the database can be reached."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract.sla_rules import describe_seconds
from airfleet_provider.contract.text import one_line
from airfleet_provider.processes import command_line
from airfleet_provider.slas import reports
from airfleet_provider.slas.reports import EngineState, Query, Row, Total

DEFAULT_DAYS = 30
# Characters of a cell that a person reads.
LONGEST = 500
# Columns of `list` and `show` as CSV.
COLUMNS = (
    *("id", "rule", "kind", "subject", "dag_id", "task_id", "asset", "run_id", "state"),
    *("due_at", "expected_at", "fulfilled_at", "ended_at", "late_s", "reason"),
)
NO_RULES = "fleet.yaml has no `slas`, or the agents process has not read them yet"


def run_command(arguments: argparse.Namespace) -> None:
    """Show open promises, a report, or one rule.

    Raises:
        SystemExit: with a message, for a moment that cannot be read or a rule that does not exist.
    """
    with closing(metadata_db.connect("airfleet sla")) as connection:

        def query(statement: str, values: Mapping[str, object]) -> list[Row]:
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                names = [one[0] for one in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        engine = reports.read_engine(query)
        match arguments.action:
            case "list":
                _list(arguments, query, engine)
            case "report":
                _report(arguments, query)
            case _:
                _show(arguments, query, engine)
        for name in engine.unmatched:
            command_line.say(f"warning: the rule {name} matches no Dag, task or asset that Airflow knows")
        if engine.is_stale:
            said = f"{engine.evaluated_at:%Y-%m-%d %H:%M} UTC" if engine.evaluated_at else "never"
            command_line.say(
                f"warning: the SLA engine has not worked lately (last: {said}): `airfleet status` shows the agents"
            )


def _list(arguments: argparse.Namespace, query: Query, engine: EngineState) -> None:
    found = reports.list_instances(
        query,
        rule=arguments.rule,
        dag=arguments.dag,
        state=arguments.state,
        now=engine.now or datetime.now(UTC),
        with_ended=arguments.all,
    )
    rows = [reports.to_row(number, one, engine.rules) for number, one in found]
    if _write_data(arguments, rows, COLUMNS):
        return
    _print_instances(rows)
    if not rows:
        command_line.say("no open promise" if engine.rules else NO_RULES)


def _report(arguments: argparse.Namespace, query: Query) -> None:
    now = datetime.now(UTC)
    until = command_line.read_moment(arguments.until) if arguments.until else now
    since = command_line.read_moment(arguments.since) if arguments.since else until - timedelta(days=DEFAULT_DAYS)
    totals = reports.report(query, since=since, until=until, rule=arguments.rule, dag=arguments.dag)
    met, missed = reports.sum_up(totals)
    rows = [{**one.to_row(), "met_percent": _round(one.share)} for one in totals]
    if arguments.format == "json":
        share = _round(reports.find_share(met, missed))
        body = {"since": since.isoformat(), "until": until.isoformat(), "met": met, "missed": missed}
        command_line.print_json({**body, "met_percent": share, "promises": rows})
        return
    if _write_data(arguments, rows, ("rule", "kind", "subject", "met", "missed", "never", "met_percent", "worst_s")):
        return
    head = ("rule", "promise", "subject", "met", "missed", "met %", "worst")
    _print_table([head, *(_show_total(one) for one in totals)])
    span = f"from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
    if met + missed:
        print(f"met {_show_share(reports.find_share(met, missed))} {span}: {met} of {met + missed}")
    else:
        command_line.say(f"no promise ended {span}")


def _show(arguments: argparse.Namespace, query: Query, engine: EngineState) -> None:
    name = arguments.rule
    if not name:
        raise SystemExit("airfleet: name a rule: `airfleet sla show RULE`")
    rules = [rule for (own, _), rule in engine.rules.items() if own == name]
    found = reports.read_history(query, rule=name, dag=arguments.dag, most=arguments.most)
    if not rules and not found:
        known = sorted({own for own, _ in engine.rules})
        hint = f"known rules: {', '.join(known)}" if known else NO_RULES
        raise SystemExit(f"airfleet: there is no rule {name!r}\n\nhint: {hint}")
    rows = [reports.to_row(number, one, engine.rules) for number, one in found]
    if arguments.format == "json":
        command_line.print_json({"rule": name, "promises": [rule.to_json() for rule in rules], "instances": rows})
        return
    if _write_data(arguments, rows, COLUMNS):
        return
    for rule in rules:
        selectors = [
            f"{key} {text}" for key in ("dag", "tag", "owner", "task", "asset") if (text := getattr(rule, key))
        ]
        print(f"{name}: {', '.join(selectors)}: {rule.describe()}; {rule.severity}")
    _print_instances(rows)


def _print_instances(rows: Sequence[Row]) -> None:
    if not rows:
        return
    head = ("id", "state", "due", "subject", "promise", "late", "now")
    lines = [
        (
            str(row["id"]),
            row["state"],
            row["due_local"],
            row["subject"],
            f"{row['rule']}: {row['promise']}",
            describe_seconds(row["late_s"]) if row["late_s"] else "",
            row["reason"],
        )
        for row in rows
    ]
    _print_table([head, *lines])


def _show_total(one: Total) -> tuple[str, ...]:
    worst = "never" if one.never else describe_seconds(one.worst_s) if one.worst_s else ""
    return one.rule, one.kind, one.subject, str(one.met), str(one.missed), _show_share(one.share), worst


def _show_share(share: float | None) -> str:
    """Return a share without rounding it up to 100 %."""
    return "" if share is None else f"{int(share * 10) / 10:g} %"


def _round(share: float | None) -> float | None:
    return None if share is None else round(share, 3)


def _write_data(arguments: argparse.Namespace, rows: Iterable[Row], columns: Sequence[str]) -> bool:
    if arguments.format == "json":
        command_line.print_json(list(rows))
        return True
    if arguments.format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([row[name] for name in columns] for row in rows)
        return True
    return False


def _print_table(lines: Iterable[Sequence[str]]) -> None:
    """Print lines of cells. A name of an asset may hold what a terminal obeys, so control characters are escaped."""
    command_line.print_table([[one_line(word, LONGEST) for word in line] for line in lines])

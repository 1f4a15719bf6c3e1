"""What ruff's AIR rules do not find in a Python file of Airflow 2: one function for each rule."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from airfleet.operations.migration import templates
from airfleet.operations.migration.findings import Handling, MigrationFinding
from airfleet.releases.checks.source import SourceFile, last_name, text_of

_CALLBACKS = re.compile(r"on_(failure|success|retry|execute|skipped)_callback")
_DATABASE_MODULES = ("airflow.settings", "airflow.utils.session", "airflow.utils.db")
_DATABASE_NAMES = frozenset({"Session", "engine", "provide_session", "create_session", "NEW_SESSION"})
# Classes of the ORM whose class methods read the metadata database.
_MODELS = frozenset(
    {"DagBag", "DagModel", "DagRun", "DagTag", "Log", "SlaMiss", "TaskFail", "TaskInstance", "TaskReschedule", "XCom"}
)
_QUERIES = frozenset(
    {"find", "find_duplicates", "get_many", "get_run", "get_latest_runs", "get_task_instance", "query"}
)
# Providers that the Airflow project has ended; no release of theirs supports Airflow 3.
ENDED_PROVIDERS = ("airflow.providers.apache.sqoop", "airflow.providers.qubole", "airflow.providers.daskexecutor")
_COMMAND = re.compile(r"(?:^|[\s;&|(])airflow\s+(?:dags|tasks|db|variables|connections|pools|users|config|jobs)\b")
_OLD_API = re.compile(
    r"/api/v1/(dags|dagRuns|dagSources|dagWarnings|datasets|variables|connections|pools|config|health|eventLogs"
    r"|importErrors|plugins|providers|roles|users|permissions|version)\b|/api/experimental/"
)
_TRIGGER_RULES = {"dummy": "always", "none_failed_or_skipped": "none_failed_min_one_success"}
_VIEWS = frozenset({"flask_blueprints", "appbuilder_views", "appbuilder_menu_items", "admin_views"})
_CONTEXT = frozenset({"execution_date", *templates.REMOVED, "yesterday_ds", "tomorrow_ds"})
_ADVICE = {**templates.REMOVED, **templates.REPLACED}


@dataclass(frozen=True, slots=True)
class Edit:
    """A new text between two places of a file. Lines count from 1, and columns count bytes of UTF-8."""

    start: tuple[int, int]
    end: tuple[int, int]
    new: Callable[[str], str]


def find(source: SourceFile) -> tuple[MigrationFinding, ...]:
    """Return all findings in one file, from the top."""
    found = [one for rule in RULES for one in rule(source)]
    return tuple(sorted(dict.fromkeys(found), key=lambda one: one.order))


def list_edits(source: SourceFile) -> tuple[Edit, ...]:
    """Return the changes of our own rules to a file: names in templates, and trigger rules."""
    edits = [
        Edit(_start(node), _end(node), templates.rewrite)
        for node in _templates(source)
        if any(use.new for use in templates.find(_segment(source, node)))
    ]
    edits += [Edit(_start(node), _end(node), _rename_trigger_rule) for node in _trigger_rules(source)]
    return tuple(edits)


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with the edits. They must not overlap."""
    lines = text.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    body = b"".join(lines)
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        start, end = (starts[line - 1] + column for line, column in (edit.start, edit.end))
        body = body[:start] + edit.new(body[start:end].decode()).encode() + body[end:]
    return body.decode()


def _find_slas(source: SourceFile) -> Iterator[MigrationFinding]:
    why = "Airflow 3 has no SLAs: it ignores `sla`, and never calls `sla_miss_callback`"
    for key, value in source.options:
        if key in ("sla", "sla_miss_callback") and not _is_none(value):
            action = "an entry of `slas` in the new fleet.yaml promises it; remove the argument"
            if key == "sla_miss_callback":
                action = "a receiver of `notifications` in fleet.yaml is notified of late promises; remove the argument"
            yield MigrationFinding(source.path, value.lineno, "sla", Handling.MOVED, f"`{key}`", why, action)


def _find_callbacks(source: SourceFile) -> Iterator[MigrationFinding]:
    why = "callbacks still run, without the metadata database; those of a Dag run in the Dag processor"
    for key, value in source.options:
        if _CALLBACKS.fullmatch(key) and not _is_none(value):
            action = "if it only notifies, remove it: `notifications` in fleet.yaml notifies of failed runs"
            if key != "on_failure_callback":
                action = "check that it reads nothing from the metadata database"
            yield MigrationFinding(source.path, value.lineno, "callback", Handling.REVIEW, f"`{key}`", why, action)


def _find_mails(source: SourceFile) -> Iterator[MigrationFinding]:
    why = "mail from tasks is deprecated, and needs a mail server in Airflow's own options"
    for key, value in source.options:
        if key in ("email_on_failure", "email_on_retry") and isinstance(value, ast.Constant) and value.value is True:
            action = "`notifications` in the new fleet.yaml sends mail about failed runs; remove the argument"
            yield MigrationFinding(source.path, value.lineno, "email", Handling.MOVED, f"`{key}=True`", why, action)


def _find_subdags(source: SourceFile) -> Iterator[MigrationFinding]:
    for call in source.calls:
        if last_name(call.func) == "SubDagOperator":
            yield MigrationFinding(
                *(source.path, call.lineno, "subdag", Handling.BROKEN, "`SubDagOperator`"),
                "Airflow 3 has no SubDags, so the file does not load",
                "make the tasks of the SubDag a TaskGroup, or a Dag of its own that TriggerDagRunOperator starts",
                minutes=120,
            )


def _find_templates(source: SourceFile) -> Iterator[MigrationFinding]:
    for node in _templates(source):
        for use in templates.find(_segment(source, node)):
            yield _describe_template(source.path, node.lineno, use)


def find_in_template_file(path: str, text: str) -> Iterator[MigrationFinding]:
    """Yield the findings in a file that Airflow renders, such as an SQL file."""
    for use in templates.find(text):
        yield _describe_template(path, text.count("\n", 0, use.start) + 1, use)


def _describe_template(path: str, line: int, use: templates.Use) -> MigrationFinding:
    why = "Airflow 3 does not define it, so the task fails when it renders the template"
    if use.new:
        action = f"write {{{{ {use.new} }}}}"
        return MigrationFinding(path, line, "template", Handling.REWRITTEN, f"`{use.name}` in a template", why, action)
    action = f"replace it: {templates.REMOVED[use.name]}"
    return MigrationFinding(
        path, line, "template", Handling.BROKEN, f"`{use.name}` in a template", why, action, minutes=15
    )


def _find_context(source: SourceFile) -> Iterator[MigrationFinding]:
    """Yield uses of names that the context of a task no longer has: subscripts, `get`, attributes and arguments."""
    for node in source.nodes:
        name = ""
        if isinstance(node, ast.Subscript):
            name = text_of(node.slice)
        elif isinstance(node, ast.Call) and last_name(node.func) == "get" and node.args:
            name = text_of(node.args[0])
        elif isinstance(node, ast.Attribute) and node.attr == "execution_date":
            name = node.attr
        elif isinstance(node, ast.Call) and any(one.arg == "execution_date" for one in node.keywords):
            name = "execution_date"
        elif isinstance(node, ast.FunctionDef) and not _is_method(node):
            name = next((one.arg for one in (*node.args.args, *node.args.kwonlyargs) if one.arg in _CONTEXT), "")
        if name in _CONTEXT:
            yield MigrationFinding(
                *(source.path, getattr(node, "lineno", 1), "context", Handling.BROKEN, f"`{name}`"),
                "Airflow 3 removed it from the context of tasks, from runs and from operators",
                f"replace it: {_ADVICE[name]}",
                minutes=10,
            )


def _find_database_access(source: SourceFile) -> Iterator[MigrationFinding]:
    why = "tasks have no access to the metadata database; workers hold no login for it"
    action = "use the task's context, airflow.sdk or Airflow's REST API"
    for module, inner, name, line in source.imports:
        if module.startswith(_DATABASE_MODULES) and (not inner or inner in _DATABASE_NAMES):
            yield MigrationFinding(
                source.path, line, "database", Handling.BROKEN, f"import of `{name}`", why, action, minutes=60
            )
        elif module == "airflow" and inner == "settings":
            yield MigrationFinding(
                source.path, line, "database", Handling.BROKEN, "import of `settings`", why, action, minutes=60
            )
    for call in source.calls:
        owner = last_name(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        method = last_name(call.func)
        if (owner in _MODELS and method in _QUERIES) or (owner == "session" and method in ("query", "execute")):
            what = f"`{owner}.{method}(…)`"
            yield MigrationFinding(source.path, call.lineno, "database", Handling.BROKEN, what, why, action, minutes=60)
        elif method == "DagBag":
            yield MigrationFinding(
                source.path, call.lineno, "database", Handling.BROKEN, "`DagBag(…)`", why, action, minutes=60
            )
    for key, value in source.options:
        if key.endswith("conn_id") and text_of(value) == "airflow_db":
            what = "the connection `airflow_db`"
            yield MigrationFinding(
                source.path, value.lineno, "database", Handling.BROKEN, what, why, action, minutes=60
            )


def _find_ended_providers(source: SourceFile) -> Iterator[MigrationFinding]:
    for module, inner, _, line in source.imports:
        whole = f"{module}.{inner}" if inner else module
        if module.startswith(ENDED_PROVIDERS):
            why = "the Airflow project ended this provider before Airflow 3"
            action = "use another operator, or the program itself in a BashOperator"
            yield MigrationFinding(
                source.path, line, "ended-provider", Handling.BROKEN, f"import of `{whole}`", why, action, minutes=120
            )


def _find_trigger_rules(source: SourceFile) -> Iterator[MigrationFinding]:
    for node in _trigger_rules(source):
        old = text_of(node)
        why = "Airflow 3 refuses this trigger rule, so the file does not load"
        action = f"write {_TRIGGER_RULES[old]!r}"
        yield MigrationFinding(
            source.path, node.lineno, "trigger-rule", Handling.REWRITTEN, f"trigger_rule={old!r}", why, action
        )


def _find_commands(source: SourceFile) -> Iterator[MigrationFinding]:
    why = "Airflow's command line needs the metadata database, and workers hold no login for it"
    for text, line in source.texts:
        if _COMMAND.search(text):
            action = "use TriggerDagRunOperator or the REST API"
            yield MigrationFinding(
                source.path, line, "command", Handling.BROKEN, "a task runs Airflow's command line", why, action
            )
        if _OLD_API.search(text):
            what = "a URL of Airflow's REST API v1"
            reason = "Airflow 3 serves /api/v2 only, with other fields and tokens in place of passwords"
            action = "use /api/v2; leave it if it is the API of another program"
            yield MigrationFinding(source.path, line, "rest-api", Handling.BROKEN, what, reason, action, minutes=60)


def _find_plugins(source: SourceFile) -> Iterator[MigrationFinding]:
    for node in source.nodes:
        if not isinstance(node, ast.ClassDef) or "AirflowPlugin" not in {last_name(base) for base in node.bases}:
            continue
        names = {
            last_name(target) for one in node.body if isinstance(one, ast.Assign) for target in one.targets
        } & _VIEWS
        if names:
            yield MigrationFinding(
                *(source.path, node.lineno, "plugin", Handling.BROKEN, f"the plugin {node.name} adds pages"),
                "Airflow's pages no longer run on Flask",
                "make it a FastAPI app or an external view (`fastapi_apps`, `external_views`)",
                minutes=240,
            )
        else:
            yield MigrationFinding(
                *(source.path, node.lineno, "plugin", Handling.REVIEW, f"the plugin {node.name}"),
                "timetables, macros and listeners of plugins still work; airfleet loads plugins from packages",
                "make it a package with the entry point `airflow.plugins`, and name it in requirements.txt",
                minutes=60,
            )


def _templates(source: SourceFile) -> Iterator[ast.expr]:
    """Yield each whole text that may be a template. The parts of an f-string are one text."""
    apart = {id(node.value) for node in source.nodes if isinstance(node, ast.Expr)}
    for node in source.nodes:
        if isinstance(node, ast.JoinedStr):
            apart |= {id(part) for part in ast.walk(node) if part is not node}
    for node in source.nodes:
        if id(node) in apart:
            continue
        if isinstance(node, ast.JoinedStr):
            if any(_is_template(text_of(part)) for part in node.values):
                yield node
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_template(node.value):
            yield node


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def _trigger_rules(source: SourceFile) -> Iterator[ast.expr]:
    return (value for key, value in source.options if key == "trigger_rule" and text_of(value) in _TRIGGER_RULES)


def _rename_trigger_rule(written: str) -> str:
    return re.sub(r"\w+", lambda match: _TRIGGER_RULES.get(match[0], match[0]), written)


def _segment(source: SourceFile, node: ast.expr) -> str:
    return ast.get_source_segment(source.text, node) or ""


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in (None, False)


def _is_method(node: ast.FunctionDef) -> bool:
    return bool(node.args.args) and node.args.args[0].arg in ("self", "cls")


RULES = (
    *(_find_slas, _find_callbacks, _find_mails, _find_subdags, _find_templates, _find_context),
    *(_find_database_access, _find_ended_providers, _find_trigger_rules, _find_commands, _find_plugins),
)

"""Turn the text of fleet.yaml into a Fleet, or into an error that lists every problem of the file."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from airfleet.errors import Problem, SpecError, UsageError
from airfleet.spec import fleet, model, reference, rules, topology, topology_rules, vpn_rules, yaml_document
from airfleet.spec.secret_ref import SecretRef
from airfleet.spec.sections import (
    access,
    breakers,
    checks,
    hosts,
    jitter,
    limits,
    machines,
    notifications,
    openlineage,
    own_database,
    references,
    reporting,
    retries,
    service_limits,
    slas,
    tracing,
    vpn,
)
from airfleet.spec.sections.logs import LogsSection
from airfleet.spec.sections.references import BY_REFERENCE, Reference
from airfleet.spec.yaml_document import Violation

FILE = "fleet.yaml"
# Beside it: the hosts on machines that `airfleet scale machines` has made, as a section `hosts` in JSON.
SCALED_FILE = "hosts.scaled.json"

_TAGS = {references.TEXT, references.LIST, references.VALUE, references.REFERENCE, "[key]"}
# Only values of these sections are repeated in error messages. In other sections, a value may be a misplaced secret.
_ECHOED = {
    *("name", "ports", "parallelism", "databases", "slot_pools", "checks"),
    *("releases", "hosts", "pools", "routing", "ssh", "retention", "schedulers", "scheduler_mode", "replication"),
    *("executor", "dags", "slas", "breakers", "limits", "retries", "task_limits", "jitter", "monitoring"),
    *("allow_from", "vpn"),
}


def read(project: Path, *, cpus: int) -> fleet.Fleet:
    """Return the fleet of a project folder, or a fleet of defaults if the project has no fleet.yaml.

    Raises:
        UsageError: The folder does not exist, or its fleet.yaml cannot be read.
        SpecError: fleet.yaml is wrong; the error lists every problem.
    """
    path = project / FILE
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        if not project.is_dir():
            raise UsageError("no such project folder", where=str(project), hint="name a folder that exists") from None
        if (project / "fleet.yml").exists():
            hint = f"rename it to {FILE}"
            raise UsageError("airfleet does not read fleet.yml", where=str(project), hint=hint) from None
        text = ""
    except OSError as error:
        hint = "make it a file that you may read"
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError("not UTF-8 text", where=f"{path}:{line}", hint="save it with the encoding UTF-8") from None
    name = slug(project.resolve().name)
    return parse(text, file=str(path), default_name=name, cpus=cpus, scaled=_read_scaled(project / SCALED_FILE))


def _read_scaled(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        hint = "airfleet scale machines: it writes the file again"
        raise UsageError(f"cannot be read: {error}", where=str(path), hint=hint) from None
    return found if isinstance(found, dict) else {}


def parse(
    text: str, *, file: str, default_name: str, cpus: int, scaled: Mapping[str, object] | None = None
) -> fleet.Fleet:
    """Return the fleet that a text describes. `file` names the text in errors.

    `scaled` are hosts on machines that come and go with the tasks. A host of the text goes before one of the same name.

    Raises:
        SpecError: The text is not YAML, and the error holds the first syntax error. Or the text breaks rules, and the
            error holds every violation.
    """
    source = yaml_document.parse(text, file=file)
    # A key without a value counts as absent, so that a user may comment out all of a section but its first line.
    known = model.FleetFile.model_fields
    data = {
        key: value
        for key, value in source.data.items()
        if not key.startswith("x-") and not (value is None and key in known)
    }
    if isinstance(own := data.get("hosts"), dict) and own and scaled:
        # Behind the others: the first hosts of the file have a meaning, such as the primary database.
        data["hosts"] = {**own, **{name: host for name, host in scaled.items() if name not in own}}
    findings = [*rules.findings(data), *topology_rules.findings(data), *vpn_rules.findings(data)]
    try:
        written = model.FleetFile.model_validate(data)
    except ValidationError as error:
        findings += _findings(error)
    problems = [Problem(source.line(path), yaml_document.dotted(path), what, hint) for path, what, hint in findings]
    if problems or source.duplicates:
        raise SpecError(file, (*source.duplicates, *problems))
    return _fleet(written, default_name=default_name, cpus=cpus)


def slug(name: str) -> str:
    """Return the name without the characters that a fleet's name may not have, or "fleet" if none remains."""
    plain = re.sub(r"[^a-z0-9_]+", "-", name.lower()).lstrip("-_0123456789")
    return plain[:40].rstrip("-_") or "fleet"


def _findings(error: ValidationError) -> Iterator[Violation]:
    root = reference.schema()
    for details in error.errors(include_url=False):
        path = tuple(part for part in details["loc"] if part not in _TAGS)
        match details["type"]:
            case "rule":
                yield Violation(path, details["ctx"]["what"], details["ctx"]["hint"])
            case "shape":
                found = _found(details["input"], echo=path[0] in _ECHOED or details["loc"][-1] == "[key]")
                yield Violation(path, f"expected {details['ctx']['words']}; found {found}")
            case "missing":
                yield Violation(path, "this key is required and not there")
            case "extra_forbidden" if path[0] == "checks" and path[-1] in fleet.FIXED_CHECKS:
                yield Violation(path, f"{path[-1]} is always an error", "remove this line")
            case "extra_forbidden" if path[0] == "pools" and path[-1] == "min":
                what = "a worker keeps a process for each of its slots, and `scale` says how many of them it uses"
                yield Violation(path, what, f"write `scale: {{min: {details['input']}}}`")
            case "extra_forbidden":
                yield Violation(
                    path, f"unknown key {path[-1]!r}", _near(str(path[-1]), reference.keys(root, path[:-1]))
                )
            case _:
                yield _mismatch(root, path, details)


def _near(key: str, known: list[str], noun: str = "keys") -> str:
    close = difflib.get_close_matches(key.lower(), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known {noun}: {', '.join(known)}"


def _mismatch(root: reference.Node, path: yaml_document.Path, details: ErrorDetails) -> Violation:
    expected = reference.words(root, reference.find(root, path))
    value = details["input"]
    what = f"expected {expected}, found {_found(value, echo=path[0] in _ECHOED)}"
    return Violation(path, what, _mismatch_hint(path, expected, value))


def _found(value: object, *, echo: bool) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value) if echo else "a number"
        case str():
            return repr(value) if echo else "text"
        case list():
            return "a list"
        case _:
            return "a map"


def _mismatch_hint(path: yaml_document.Path, expected: str, value: object) -> str:
    hint = ""
    match value:
        case list() | dict() if path[0] == "airflow" and len(path) == 3:
            hint = "Airflow reads lists and maps as JSON in quotes: '[1, 2]'"
        case int() if path[0] == "slot_pools" and len(path) == 2:
            hint = f"write it as {{slots: {value}}}"
        case bool() | int() | float() if "text" in expected:
            hint = "write it in quotes"
        case str() if expected == "true or false":
            hint = "write true or false, without quotes"
        case str() if expected.startswith("a whole number") and re.fullmatch(r"-?\d+", value):
            hint = "write it without quotes"
        case str() if expected.startswith("a list"):
            hint = "write it as a list: [one, two]"
        case str() if expected == "a reference":
            hint = BY_REFERENCE
        case str() if expected == "off, warning or error":
            hint = _near(value, ["off", "warning", "error"], "levels")
        case str() if path[0] == "connections" and len(path) == 2:
            hint = "a URI goes under the key `uri`"
    return hint


def _fleet(written: model.FleetFile, *, default_name: str, cpus: int) -> fleet.Fleet:
    pools = _pools(written)
    hosts_of_file = _hosts(written, tuple(pool.name for pool in pools))
    # The default on hosts is not the sum of the pools' slots: a change of one pool would then restart the schedulers.
    parallelism = fleet.MOST_PARALLELISM if hosts_of_file else min(max(4, 2 * cpus), fleet.MOST_PARALLELISM)
    return fleet.Fleet(
        name=written.name or default_name,
        ports=fleet.Ports(written.ports.api, written.ports.database, written.ports.metrics),
        parallelism=written.parallelism or parallelism,
        env={key: value if isinstance(value, str) else value.convert() for key, value in written.env.items()},
        airflow=written.airflow,
        databases=tuple(written.databases),
        connections={name: _connection(one) for name, one in written.connections.items()},
        variables=_values(written.variables),
        slot_pools={
            name: fleet.SlotPool(one.slots, one.description, one.include_deferred)
            for name, one in written.slot_pools.items()
        },
        checks=_checks(written.checks),
        releases=fleet.Releases(**written.releases.model_dump()),
        backups=fleet.Backups(**written.backups.model_dump()),
        archive=fleet.Archive(**written.archive.model_dump()),
        notifications=notifications.convert(written.notifications),
        slas=tuple(rule for name, one in written.slas.items() for rule in slas.convert(name, one)),
        breakers=tuple(
            breakers.convert(name, one, hosts=sum("worker" in host.roles for host in hosts_of_file))
            for name, one in written.breakers.items()
        ),
        limits=tuple(service_limits.convert(name, one, written.breakers) for name, one in written.limits.items()),
        retries=tuple(retries.convert(name, one) for name, one in written.retries.items()),
        task_limits=tuple(limits.convert(name, one) for name, one in written.task_limits.items()),
        jitter=tuple(jitter.convert(name, one) for name, one in written.jitter.items()),
        monitoring=fleet.Monitoring(
            written.monitoring.retention, written.monitoring.size, tuple(dict.fromkeys(written.monitoring.readers))
        ),
        logs=_logs(written.logs),
        tracing=tracing.convert(written.tracing, written.name or default_name) if written.tracing else None,
        user_spans=written.user_spans,
        openlineage=openlineage.convert(written.openlineage, written.name or default_name)
        if written.openlineage
        else None,
        dags=written.dags or ("releases" if hosts_of_file else "folder"),
        executor=written.executor,
        machines=machines.convert(written.machines) if written.machines else None,
        hosts=hosts_of_file,
        pools=pools,
        routing=tuple(topology.Route(one.queue, one.dag, one.task, one.operator) for one in written.routing),
        ssh=topology.Ssh(written.ssh.user, written.ssh.port, written.ssh.key, written.ssh.known_hosts),
        tls=topology.Tls(written.tls.certificate, written.tls.key) if written.tls else None,
        retention=topology.Retention(written.retention.logs),
        firewall=written.firewall,
        requirements=written.requirements,
        schedulers=written.schedulers,
        scheduler_mode=written.scheduler_mode,
        replication=written.replication,
        database=written.database.url.convert() if written.database else None,
        broker=own_database.convert(written.broker) if written.broker else None,
        balancer=written.balancer.address if written.balancer else None,
        reporting=_reporting(written.reporting) if written.reporting else None,
        allow_from=None if written.allow_from is None else tuple(dict.fromkeys(written.allow_from)),
        vpn=vpn.convert(written.vpn) if written.vpn else None,
        access=access.convert(written.access) if written.access else None,
    )


def _reporting(written: reporting.ReportingSection) -> fleet.Reporting:
    readers = tuple(dict.fromkeys(written.readers))
    return fleet.Reporting(written.password.convert(), readers, written.connections, written.seconds)


def _logs(written: LogsSection) -> fleet.Logs:
    found = written.opensearch
    return fleet.Logs(tuple(written.redact), fleet.OpenSearch(found.url.convert(), found.prefix) if found else None)


def _pools(written: model.FleetFile) -> tuple[topology.WorkerPool, ...]:
    return tuple(hosts.convert_pool(name, one) for name, one in written.pools.items()) or topology.DEFAULT_POOLS


def _hosts(written: model.FleetFile, pools: tuple[str, ...]) -> tuple[topology.Host, ...]:
    ssh = topology.Ssh(written.ssh.user, written.ssh.port, written.ssh.key, written.ssh.known_hosts)
    every = topology.list_roles({name for name in topology.OWN_SECTIONS.values() if getattr(written, name)})
    roles = every if len(written.hosts) == 1 else ("worker",)
    return tuple(hosts.convert_host(name, one, ssh, roles, pools=pools) for name, one in written.hosts.items())


def _checks(written: checks.ChecksSection) -> fleet.Checks:
    said = written.model_dump(by_alias=True)
    return fleet.Checks(
        levels={check: said[check] for check in fleet.CHECK_LEVELS},
        parse_seconds=written.parse_seconds,
        catchup_runs=written.catchup_runs,
        dag_id_pattern=written.dag_id_pattern,
    )


def _connection(written: model.ConnectionSection) -> fleet.Connection:
    return fleet.Connection(
        type=written.type,
        host=written.host,
        login=written.login,
        password=written.password.convert() if written.password else None,
        schema=written.schema_,
        port=written.port,
        extra=_values(written.extra),
        uri=written.uri.convert() if isinstance(written.uri, Reference) else written.uri,
    )


def _values(written: Mapping[str, object]) -> dict[str, object | SecretRef]:
    return {key: value.convert() if isinstance(value, Reference) else value for key, value in written.items()}

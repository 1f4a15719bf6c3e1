"""The README beside the exported files: what to do in which order, and what is not carried over."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from airfleet.operations.kubernetes.environment import Environment, name_object
from airfleet.spec.fleet import Fleet


def write(
    fleet: Fleet, values: Mapping[str, Any], found: Environment, *, chart: str, repository: str, pods: Collection[str]
) -> str:
    """Return the text in Markdown. It holds no secret."""
    return "\n".join(_list_lines(fleet, values, found, chart, repository, pods)) + "\n"


def _list_lines(
    fleet: Fleet, values: Mapping[str, Any], found: Environment, chart: str, repository: str, pods: Collection[str]
) -> Iterator[str]:
    tag = values["images"]["airflow"]["tag"]
    name = fleet.name.replace("_", "-")
    yield f"# {fleet.name} on Kubernetes\n"
    yield f"These files are for the official Helm chart of Airflow, version {chart} or later. The guide"
    yield '"To Kubernetes" in airfleet\'s documentation says what changes for users.\n'
    yield "## Steps\n"
    yield f"1. Build the image in the project's folder: `docker build -f DOCKERFILE -t {repository}:{tag} .`"
    yield "2. Create the Secrets below."
    yield f"3. `helm upgrade --install {name} apache-airflow/airflow --version {chart} -f values.yaml`"
    yield "4. `kubectl cp slot-pools.json` to the api-server's pod, and there `airflow pools import slot-pools.json`."
    yield "5. With the Prometheus operator: `kubectl apply -f prometheus-rules.yaml -f dashboards.yaml`.\n"
    yield "## Secrets\n"
    yield "| Secret | key | value |\n|---|---|---|"
    random = "a random text"
    yield f"| `{values['fernetKeySecretName']}` | `fernet-key` | the fleet's, if its database moves too |"
    yield f"| `{values['apiSecretKeySecretName']}` | `api-secret-key` | {random} |"
    yield f"| `{values['jwtSecretName']}` | `jwt-secret` | {random} |"
    yield f"| `{values['data']['metadataSecretName']}` | `connection` | `postgresql://LOGIN:<secret>@HOST/airflow` |"
    if broker := values["data"].get("brokerUrlSecretName"):
        yield f"| `{broker}` | `connection` | `amqp://LOGIN:<secret>@HOST/` |"
    for variable, text in found.secrets.items():
        yield f"| `{name_object(fleet, 'environment')}` | `{variable}` | `{text}` |"
    yield "\nPass each value by a file: `kubectl create secret generic NAME --from-file=KEY=FILE`. Other users of the"
    yield "machine can see a value on the command line.\n"
    yield "## Routing\n"
    for number, rule in enumerate(fleet.routing, 1):
        pool = next((pool for pool in fleet.pools if rule.queue in pool.queues), None)
        where = "nobody serves it" if pool is None else _describe(pool.name, pods)
        selected = f"dag `{rule.dag}`, task `{rule.task}`, operator `{rule.operator}`"
        yield f"{number}. {selected}: queue `{rule.queue}`, {where}"
    for pool in fleet.pools:
        yield f"- pool `{pool.name}`: {_describe(pool.name, pods)}"
    yield "\n## Not carried over\n"
    yield "- Releases: a new release is a new image. A run does not keep the release it began with."
    yield "- The agents: `slas`, `notifications`, `tracing`, breakers and the exporter that the rules and boards read."
    yield "- `limits` of services, and the `jitter` of crons."
    yield "- Users and roles: create them again, or move the metadata database."
    yield "- Backups, archive and fail-over of the databases: they are the database's owner's."
    yield from (f"- {what}" for what in found.left_out)


def _describe(pool: str, pods: Collection[str]) -> str:
    return "a pod for each task" if pool in pods else f"the set `{pool.replace('_', '-')}` of Celery workers"

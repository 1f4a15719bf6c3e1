"""Prometheus' configuration: what it scrapes, and to which Alertmanagers it sends alerts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from airfleet_provider.contract.metrics import METRICS, Scope

# Seconds between two scrapes, and between two evaluations of the rules. An alert reaches its receiver after one of
# each, and after the `for` of its rule.
SCRAPE_S = 10
EVALUATE_S = 10
# More samples of one target than this are refused, and the target counts as down. The agents keep to less.
MOST_SAMPLES = 50_000
# The queues of a RabbitMQ node, each with its messages and consumers. Its other metrics are sums over all queues.
QUEUE_FAMILIES = ("queue_coarse_metrics", "queue_consumer_count")
OPTIONS = (
    # By default, every page that is open in a browser which reaches Prometheus may read all metrics. No page needs to.
    "--web.cors.origin=^$",
    # After a start or a reload, Prometheus knows no Alertmanager for up to 5 s. It drops what fires meanwhile, and says
    # it again after this time: by default, a minute later.
    "--rules.alert.resend-delay=20s",
)


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """A server with metrics: its address with port, and the host of fleet.yaml that it runs on."""

    address: str
    host: str


@dataclass(frozen=True, slots=True)
class ScrapeJob:
    """Targets that are scraped in the same way. Alerts and dashboards know a job by its name.

    With `authorities`, targets speak TLS, and the file has the certificates that their certificates must lead to.
    `proof` are the files of the certificate and the key that Prometheus shows to targets that ask for one.
    `login` are the user and the file with the password that targets ask for.
    `relabel` are rules for the labels of its series.
    """

    name: str
    targets: tuple[ScrapeTarget, ...]
    path: str = "/metrics"
    params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    authorities: Path | None = None
    proof: tuple[Path, Path] | None = None
    login: tuple[str, Path] | None = None
    honor_labels: bool = False
    relabel: tuple[Mapping[str, Any], ...] = ()


def scrape_agents(targets: tuple[ScrapeTarget, ...], *, authorities: Path | None = None) -> ScrapeJob:
    """Return the job that scrapes the agents, with TLS if there are `authorities`.

    Only the active agents export facts about the platform. These series do not name the agents that exported them, so
    that they, and the alerts that they cause, stay the same when the agents of another host take over. A label `host`
    of such a fact names the host that the fact is about.
    """
    platform = [metric for metric in METRICS.values() if metric.scope is Scope.PLATFORM]
    return ScrapeJob(
        "agents",
        targets,
        authorities=authorities,
        honor_labels=True,
        relabel=(
            _drop("instance", [metric.name for metric in platform]),
            _drop("host", [metric.name for metric in platform if "host" not in metric.labels]),
        ),
    )


def scrape_brokers(nodes: ScrapeJob) -> tuple[ScrapeJob, ScrapeJob]:
    """Return the jobs that scrape RabbitMQ nodes: each node, and the queues that it knows."""
    queues = replace(nodes, name="rabbitmq-queues", path=f"{nodes.path}/detailed", params={"family": QUEUE_FAMILIES})
    return nodes, queues


def _drop(label: str, names: Iterable[str]) -> dict[str, Any]:
    """Return the rule that removes a label from the series of some metrics."""
    return {
        "source_labels": ["__name__"],
        "regex": f"({'|'.join(names)})(_bucket|_count|_sum)?",
        "target_label": label,
        "replacement": "",
    }


def render_config(fleet: str, jobs: Iterable[ScrapeJob], alertmanagers: ScrapeJob, rules: Path) -> str:
    """Return prometheus.yml.

    Two monitor hosts have the same labels, so that their Alertmanagers take an alert of both for one.
    """
    config = {
        "global": {
            "scrape_interval": f"{SCRAPE_S}s",
            "scrape_timeout": f"{SCRAPE_S}s",
            "evaluation_interval": f"{EVALUATE_S}s",
            "external_labels": {"fleet": fleet},
        },
        "rule_files": [str(rules / "*.yaml")],
        "alerting": {
            "alertmanagers": [
                {
                    **_secure(alertmanagers),
                    "timeout": "5s",
                    "static_configs": [{"targets": [target.address for target in alertmanagers.targets]}],
                }
            ]
        },
        "scrape_configs": [_render_job(job) for job in jobs if job.targets],
    }
    return f"# Written by airfleet.\n{yaml.safe_dump(config, sort_keys=False)}"


def _render_job(job: ScrapeJob) -> dict[str, Any]:
    return {
        "job_name": job.name,
        "sample_limit": MOST_SAMPLES,
        "metrics_path": job.path,
        **({"params": {name: list(values) for name, values in job.params.items()}} if job.params else {}),
        **({"honor_labels": True} if job.honor_labels else {}),
        **({"metric_relabel_configs": [dict(rule) for rule in job.relabel]} if job.relabel else {}),
        **_secure(job),
        "static_configs": [{"targets": [one.address], "labels": {"host": one.host}} for one in job.targets],
    }


def _secure(job: ScrapeJob) -> dict[str, Any]:
    user, password = job.login or (None, None)
    shown: dict[str, Any] = {"basic_auth": {"username": user, "password_file": str(password)}} if job.login else {}
    if not job.authorities:
        return shown
    certificate, key = job.proof or (None, None)
    own = {"cert_file": str(certificate), "key_file": str(key)} if job.proof else {}
    return {**shown, "scheme": "https", "tls_config": {"ca_file": str(job.authorities), **own}}

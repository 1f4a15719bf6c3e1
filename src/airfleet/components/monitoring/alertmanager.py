"""Alertmanager's configuration. Its only receiver is the agents: they keep alerts in the database, and notify people.

So Alertmanager knows no person, no password and no time of the day. It takes the alerts of two Prometheus for one, and
tries again until the agents have them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

# The path of the agents' HTTP server that takes alerts.
ALERTS_PATH = "/alerts"
# Seconds. The agents group and repeat; so Alertmanager passes on what it has at once, and reports the end of an alert
# soon.
GROUP_WAIT_S = 1
GROUP_INTERVAL_S = 10
REPEAT_S = 3600
# The watchdog arrives each minute: Alertmanager repeats it at the first group interval after this time.
WATCHDOG_S = 45
# When a host is down, nothing on it answers: these alerts would only repeat that.
IMPLIED = ("AgentsDown", "BrokerDown", "ComponentDown", "ComponentSilent", "DatabaseDown", "ExporterDown")


def render_config(agents: Iterable[str], token: Path, *, authorities: Path | None = None) -> str:
    """Return alertmanager.yml. `agents` are the URLs of all agents. Each of them gets every alert.

    The agents write an alert once, however many of them get it. `token` is the file with the bearer token, and
    `authorities` the file with the certificates that those of the agents must lead to.
    """
    trust = {"tls_config": {"ca_file": str(authorities)}} if authorities else {}
    webhooks = [
        {
            "url": f"{url}{ALERTS_PATH}",
            "send_resolved": True,
            "http_config": {"authorization": {"credentials_file": str(token)}, "follow_redirects": False, **trust},
        }
        for url in agents
    ]
    config = {
        "route": {
            "receiver": "agents",
            "group_by": ["alertname"],
            "group_wait": f"{GROUP_WAIT_S}s",
            "group_interval": f"{GROUP_INTERVAL_S}s",
            "repeat_interval": f"{REPEAT_S}s",
            "routes": [
                {
                    "receiver": "agents",
                    "matchers": ['alertname="Watchdog"'],
                    "group_interval": f"{WATCHDOG_S // 3}s",
                    "repeat_interval": f"{WATCHDOG_S}s",
                }
            ],
        },
        # A condition that needs somebody now is no second time a condition that can wait.
        "inhibit_rules": [
            {"source_matchers": ["severity=critical"], "target_matchers": ["severity=warning"], "equal": ["alertname"]},
            {
                "source_matchers": ['alertname="HostDown"'],
                "target_matchers": [f'alertname=~"{"|".join(IMPLIED)}"'],
                "equal": ["host"],
            },
        ],
        "receivers": [{"name": "agents", "webhook_configs": webhooks}],
    }
    return f"# Written by airfleet.\n{yaml.safe_dump(config, sort_keys=False)}"

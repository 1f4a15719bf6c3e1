"""What a Grafana needs to draw the platform: a data source, and the dashboards. airfleet runs no Grafana itself."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from airfleet.components.monitoring.prometheus import SCRAPE_S
from airfleet.spec.secrets import Secret

# The dashboards name their data source by this uid.
SOURCE = "airfleet"


def list_files(
    folder: Path, url: str, authorities: str = "", login: tuple[str, Secret] | None = None
) -> dict[Path, str]:
    """Return the files of a folder for Grafana's provisioning, by path. `url` is Prometheus'.

    `authorities` are the certificates, in PEM, that the certificate of Prometheus must lead to. `login` are the user
    and the password that Prometheus asks for; one of the files then holds the password.
    """
    boards = folder / "boards"
    shipped = resources.files(__package__) / "dashboards"
    return {
        folder / "datasources" / "airfleet.yaml": _render({"datasources": [_describe_source(url, authorities, login)]}),
        folder / "dashboards" / "airfleet.yaml": _render(
            {"providers": [{"name": "airfleet", "folder": "airfleet", "options": {"path": str(boards)}}]}
        ),
        **{
            boards / file.name: file.read_text()
            for file in sorted(shipped.iterdir(), key=lambda file: file.name)
            if file.name.endswith(".json")
        },
    }


def _describe_source(url: str, authorities: str, login: tuple[str, Secret] | None) -> dict[str, Any]:
    secret = {
        **({"tlsCACert": authorities} if authorities else {}),
        **({"basicAuthPassword": login[1].reveal()} if login else {}),
    }
    return {
        "name": "airfleet",
        "uid": SOURCE,
        "type": "prometheus",
        "access": "proxy",
        "url": url,
        "jsonData": {
            "httpMethod": "POST",
            "timeInterval": f"{SCRAPE_S}s",
            **({"tlsAuthWithCACert": True} if authorities else {}),
        },
        **({"basicAuth": True, "basicAuthUser": login[0]} if login else {}),
        **({"secureJsonData": secret} if secret else {}),
    }


def _render(content: dict[str, Any]) -> str:
    return f"# Written by airfleet.\n{yaml.safe_dump({'apiVersion': 1, **content}, sort_keys=False)}"

"""The Prometheus and the Alertmanager that are installed on this machine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from airfleet.errors import AirfleetError

# Debian's Alertmanager has the longer name.
ALERTMANAGERS = ("alertmanager", "prometheus-alertmanager")
HINT = (
    "install Prometheus 2.42 and Alertmanager 0.25 or later"
    " (Debian: apt-get install prometheus prometheus-alertmanager;"
    " its own services are not needed: systemctl disable --now prometheus prometheus-alertmanager),"
    " or start without --monitor"
)


@dataclass(frozen=True, slots=True)
class PrometheusPrograms:
    """The paths of both servers."""

    prometheus: Path
    alertmanager: Path


def find_programs() -> PrometheusPrograms:
    """Return the paths of the installed programs.

    Raises:
        AirfleetError: One of them is not installed.
    """
    prometheus = shutil.which("prometheus")
    alertmanager = next(filter(None, map(shutil.which, ALERTMANAGERS)), None)
    if prometheus is None or alertmanager is None:
        missing = "Prometheus" if prometheus is None else "Alertmanager"
        where = "prometheus" if prometheus is None else ALERTMANAGERS[0]
        raise AirfleetError(f"{missing} is not installed, and --monitor needs it", where=where, hint=HINT)
    return PrometheusPrograms(Path(prometheus), Path(alertmanager))

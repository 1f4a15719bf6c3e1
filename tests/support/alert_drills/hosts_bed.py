"""A fleet of three machines made here, one of which monitors the others, and receivers that the machines reach.

Prometheus reads the rules of `quick_rules`, as on one machine.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airfleet.components.host_model import AUTHORITIES, PROMETHEUS
from airfleet.components.hosts.monitor import PROMETHEUS_FOLDER, RULES
from airfleet.components.monitoring import rule_files
from alert_drills import quick_rules
from alert_drills.bed import Bed
from four import PACKAGES, Four
from machines import Bed as Machines
from machines import why_not
from machines.image import Recipe, ensure_image
from receivers import HttpReceiver, MailReceiver

ROLES = {
    "one": "roles: [database, broker, web, scheduler]",
    "two": "roles: [database, broker, scheduler, worker], pools: [default]",
    "three": "roles: [broker, monitor]",  # the third that votes
}
MONITOR = "three"
SETTINGS = """\
notifications:
  receivers:
    mail:
      type: email
      to: [team@example.com]
      from: airfleet@example.com
      host: {address}
      port: {mail}
      encryption: none
    hook: {{type: webhook, url: "{hook}"}}
"""


class HostsBed(Bed):
    """The fleet with what watches it."""

    def __init__(self, fleet: Four, mail: MailReceiver, http: HttpReceiver) -> None:
        super().__init__(mail, http)
        self.fleet = fleet

    def describe(self) -> str:
        return self.fleet.run("status").stdout[-1000:]

    def ask_prometheus(self, path: str) -> Any:  # noqa: ANN401 - JSON
        machine = self.fleet.bed[MONITOR]
        url = f"https://{machine.address}:{PROMETHEUS}/api/v1/{path}"
        done = machine.run(f"curl --silent --max-time 5 --cacert {AUTHORITIES} '{url}'", check=False)
        try:
            return json.loads(done.stdout)["data"]
        except (ValueError, KeyError):
            return None

    def find_primary(self) -> str:
        """Return the name of the host with the primary of PostgreSQL."""
        for name in ("one", "two"):
            words = "sudo -u postgres psql -XAtq -h /run/postgresql postgres -c 'SELECT pg_is_in_recovery()'"
            if self.fleet.bed[name].run(words, check=False).stdout.strip() == "f":
                return name
        return ""

    @contextlib.contextmanager
    def stopped(self, unit: str, *hosts: str) -> Iterator[None]:
        """Stop a service on hosts, and start it again."""
        for host in hosts:
            self.fleet.bed[host].run(f"sudo systemctl stop airfleet-{unit}")
        try:
            yield
        finally:
            for host in hosts:
                self.fleet.bed[host].run(f"sudo systemctl start --no-block airfleet-{unit}")

    def quicken(self) -> None:
        """Give Prometheus rules with shorter times, and let it scrape every two seconds."""
        machine = self.fleet.bed[MONITOR]
        for name, text in rule_files.read_shipped().items():
            machine.run(f"sudo tee {RULES / name} >/dev/null", text=quick_rules.quicken(text))
        config = machine.run(f"sudo cat {PROMETHEUS_FOLDER / 'prometheus.yml'}").stdout
        quick = re.sub(r"((?:interval|timeout): )10s$", r"\g<1>2s", config, flags=re.MULTILINE)
        machine.run(f"sudo tee {PROMETHEUS_FOLDER / 'prometheus.yml'} >/dev/null", text=quick)
        machine.run("sudo systemctl reload airfleet-prometheus")


@contextlib.contextmanager
def make(folder: Path) -> Iterator[HostsBed]:
    """Yield a healthy fleet that everything watches. Its end ends everything."""
    if reason := why_not():
        raise SystemExit(f"no machines can run here: {reason}")
    with contextlib.ExitStack() as stack:
        packages = (*PACKAGES, "prometheus", "prometheus-alertmanager")
        machines = stack.enter_context(Machines.create(list(ROLES), image=ensure_image(Recipe(fetched=packages))))
        machines.wait_ready()
        address = machines.layout.gateway
        mail = MailReceiver(folder, is_encrypted=False, address=address)
        http = HttpReceiver(address)
        mail.start()
        stack.callback(mail.stop)
        http.start()
        stack.callback(http.stop)
        fleet = Four(folder, machines, ROLES)
        fleet.write(SETTINGS.format(address=address, mail=mail.port, hook=f"{http.url}/hook"))
        fleet.do("apply")
        bed = HostsBed(fleet, mail, http)
        stack.callback(bed.watcher.stop)
        bed.quicken()
        bed.wait(lambda: bed.query("airfleet:scheduler:available") == 1, "the rules")
        bed.wait(lambda: bed.query("count(up == 0) or vector(0)") == 0, "every target")
        bed.watcher.start()
        yield bed

"""Stock Airflow on the hosts of a fleet, with its documented defaults, as systemd services.

It follows Airflow's documentation of Celery on PostgreSQL: a PostgreSQL server with default settings, a virtual host of
the fleet's RabbitMQ, one scheduler, one Dag processor, one triggerer, an api-server on each web host, and a Celery
worker with the same slots on the same host. The packages are the fleet's, without airfleet's provider.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path

import httpx

from deadline import wait_until
from machines.machine import Machine
from reference_fleet import ReferenceFleet
from stock.rest import is_healthy

HOME = "/opt/stock"
USER = "stock"
API, DATABASE = 8980, 5533
PREPARE = Path(__file__).parent / "fleet_stock_host.sh"
DATABASE_SCRIPT = Path(__file__).parent / "fleet_stock_data.sh"


class Stock:
    """Stock Airflow. The first start sets it up; later it is started and stopped like the fleet's own services."""

    name = "stock"

    def __init__(self, fleet: ReferenceFleet, slots: int, dags: Path) -> None:
        self._bed = fleet.bed
        self._slots = slots
        self._dags = dags
        self._is_made = False
        self._password = secrets.token_urlsafe(16)
        self._environment = self._configure()

    def start(self) -> None:
        for machine in self._bed.machines:
            machine.console("nft delete table inet airfleet", check=False)
        if not self._is_made:
            self._make()
            self._is_made = True
        for machine, unit in self._list_units():
            machine.console(f"systemctl start --no-block stock-{unit}.service")
        wait_until(
            lambda: is_healthy(f"http://{self._bed['web1'].address}:{API}"),
            "stock to be healthy",
            every_s=2,
        )
        said = "journalctl --unit stock-worker --grep 'ready\\.' --quiet --no-pager --since -10min | tail -n 1"
        wait_until(lambda: self._bed["cpu1"].console(said, check=False).strip(), "the worker", every_s=2)

    def stop(self) -> None:
        for machine, unit in reversed(self._list_units()):
            machine.console(f"systemctl stop stock-{unit}.service")

    def log_in(self) -> httpx.Client:
        base = f"http://{self._bed['web1'].address}:{API}"
        login = httpx.post(f"{base}/auth/token", json={"username": "admin", "password": self._password}, timeout=60)
        token = login.raise_for_status().json()["access_token"]
        return httpx.Client(base_url=f"{base}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def count_paths(self) -> dict[str, int]:
        return {}

    def _list_units(self) -> list[tuple[Machine, str]]:
        bed = self._bed
        return [
            *((bed[name], "api-server") for name in ("web1", "web2", "web3")),
            *((bed["sched1"], component) for component in ("scheduler", "dag-processor", "triggerer")),
            (bed["cpu1"], "worker"),
        ]

    def _configure(self) -> Mapping[str, str]:
        """Return its settings: paths, shared secrets, and the number of slots. All others are the defaults."""
        database, broker = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        data = self._bed["data1"].address
        dsn = f"postgresql+psycopg2://stock:{database}@{data}:{DATABASE}/airflow"
        settings = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "CORE__DAGS_FOLDER": f"{HOME}/dags",
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "CORE__EXECUTION_API_SERVER_URL": f"http://{self._bed['web2'].address}:{API}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "DATABASE__SQL_ALCHEMY_CONN": dsn,
            "API__PORT": str(API),
            "API__SECRET_KEY": secrets.token_urlsafe(24),
            "API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            "CELERY__WORKER_CONCURRENCY": str(self._slots),
            "CELERY__BROKER_URL": f"amqp://stock:{broker}@{data}:5672/stock",
        }
        return {
            "AIRFLOW_HOME": f"{HOME}/airflow",
            "STOCK_DATABASE_PASSWORD": database,
            "STOCK_BROKER_PASSWORD": broker,
            "STOCK_PORT": str(DATABASE),
            **{f"AIRFLOW__{key}": value for key, value in settings.items()},
        }

    def _make(self) -> None:
        hosts = sorted({machine.name for machine, _ in self._list_units()})
        self._run_script(self._bed["data1"], DATABASE_SCRIPT)
        for name in hosts:
            machine = self._bed[name]
            units = " ".join(unit for one, unit in self._list_units() if one.name == name)
            self._copy_dags(machine)
            self._run_script(machine, PREPARE, units)
        airflow = f"runuser -u {USER} -- {HOME}/venv/bin/python -m airflow"
        migrate = f"set -a; . {HOME}/environment; cd {HOME}; {airflow} db migrate"
        self._bed["sched1"].console(migrate)

    def _copy_dags(self, machine: Machine) -> None:
        folder = machine.root / HOME.lstrip("/") / "dags"
        folder.mkdir(parents=True, exist_ok=True)
        for file in self._dags.glob("*.py"):
            (folder / file.name).write_bytes(file.read_bytes())

    def _run_script(self, machine: Machine, script: Path, units: str = "") -> None:
        place = machine.root / HOME.lstrip("/")
        place.mkdir(exist_ok=True)
        lines = [f"{key}={shlex.quote(value)}\n" for key, value in self._environment.items()]
        (place / "environment").write_text("".join(lines))
        passwords = place / "airflow" / "simple_auth_manager_passwords.json.generated"
        passwords.parent.mkdir(exist_ok=True)
        passwords.write_text(json.dumps({"admin": self._password}))
        (place / script.name).write_bytes(script.read_bytes())
        machine.console(f"sh {HOME}/{script.name} {units}")

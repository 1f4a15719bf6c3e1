"""Faults of the broker, the databases, disks, memory, certificates and backups."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airfleet.components.monitoring.rule_files import read_expiries
from airfleet.workspace import certificate_authority
from alert_drills.drill import Drill
from alert_drills.local_bed import NODE, LocalBed, find
from deadline import PATIENCE_S

BACKUP_AGE_S = 26 * 3600
DISK_BYTES = 64 << 20
OOM_BYTES = 64 << 20


def block_broker(bed: LocalBed) -> Iterator[None]:
    control(bed, "set_vm_memory_high_watermark", "0.0001")
    try:
        yield
    finally:
        control(bed, "set_vm_memory_high_watermark", "0.4")


def control(bed: LocalBed, *words: str) -> None:
    """Run rabbitmqctl on the platform's node, with the environment of that node."""
    pid = bed.platform.pid("rabbitmq")
    read = Path(f"/proc/{pid}/environ").read_text().split("\0")
    environment = dict(line.partition("=")[::2] for line in read if line)
    program = "/usr/lib/rabbitmq/bin/rabbitmqctl"
    subprocess.run(
        [program, "-n", environment["RABBITMQ_NODENAME"], *words], env=environment, check=True, timeout=PATIENCE_S
    )


def keep_broker_down(bed: LocalBed) -> Iterator[None]:
    with bed.kept_down("rabbitmq"):
        yield


def keep_database_down(bed: LocalBed) -> Iterator[None]:
    with bed.kept_down("postgres"):
        yield


def fill_connections(bed: LocalBed) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        with bed.connect() as connection:
            most = int(connection.execute("SHOW max_connections").fetchone()[0])  # type: ignore[index]
            clients = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            [used] = connection.execute(clients).fetchone() or (0,)
        for _ in range(int(most * 0.94) - int(used)):
            stack.enter_context(bed.connect(superuser=False))
        yield


def hide_table(bed: LocalBed) -> Iterator[None]:
    bed.execute("ALTER TABLE airfleet.metric_counter RENAME TO metric_counter_away")
    try:
        yield
    finally:
        bed.execute("ALTER TABLE airfleet.metric_counter_away RENAME TO metric_counter")


def refuse_archive(bed: LocalBed) -> Iterator[None]:
    folder = bed.platform.state.root / "backups" / "wal"
    before = folder.stat()
    os.chown(folder, 0, 0)
    folder.chmod(0o755)
    try:
        bed.execute("SELECT pg_switch_wal()", "CREATE TABLE drilled (n int)", "DROP TABLE drilled")
        bed.execute("SELECT pg_switch_wal()")
        yield
    finally:
        os.chown(folder, before.st_uid, before.st_gid)
        folder.chmod(before.st_mode & 0o777)


def hide_backups(bed: LocalBed) -> Iterator[None]:
    folder = bed.platform.state.root / "backups"
    away = folder.rename(folder.with_name("backups-away"))
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        away.rename(folder)


def make_backup_old(bed: LocalBed) -> Iterator[None]:
    folder = bed.platform.state.root / "backups"
    days_ago = time.time() - 2 * 86_400
    for path in folder.glob("[0-9]*Z/backup.json"):
        os.utime(path, (days_ago, days_ago))
    yield
    bed.platform.airfleet("db", "backup")


def shorten_certificates(bed: LocalBed, days: int) -> Iterator[None]:
    """Give the fleet a certificate of a host that ends in so many days. Apply writes such limits from certificates."""
    began = datetime.now(UTC) - certificate_authority.HOST_LIFE + timedelta(days=days)
    authority = certificate_authority.load(certificate_authority.create("drill", began), where="drill")
    issued = certificate_authority.issue(authority, "web1", ["127.0.0.1"], began)
    bed.write_rules(read_expiries("web1", "host", issued.certificate), BACKUP_AGE_S)
    try:
        yield
    finally:
        bed.write_rules(backup_age_s=BACKUP_AGE_S)


def expire_soon(bed: LocalBed) -> Iterator[None]:
    yield from shorten_certificates(bed, 10)


def renew_never(bed: LocalBed) -> Iterator[None]:
    yield from shorten_certificates(bed, 100)


@contextlib.contextmanager
def disk(bed: LocalBed, name: str, *options: str) -> Iterator[Path]:
    """Yield the folder of a new small disk, which the node exporter sees."""
    image, folder = bed.folder / f"{name}.img", bed.folder / name
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run([find("mkfs.ext4"), "-q", "-m", "0", *options, str(image)], check=True)
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        image.unlink()


def fill_disk(bed: LocalBed) -> Iterator[None]:
    folder = bed.kept.enter_context(disk(bed, "full"))
    fill(folder / "logs", 0.97)
    yield
    (folder / "logs").unlink()


def fill(path: Path, share: float) -> None:
    """Write a file that takes this share of what is free now."""
    path.write_bytes(bytes(int(shutil.disk_usage(path.parent).free * share)))


def fill_disk_slowly(bed: LocalBed) -> Iterator[None]:
    folder = bed.kept.enter_context(disk(bed, "filling"))
    fill(folder / "first", 0.70)
    for number in range(10):
        fill(folder / f"more{number}", 0.05)
        time.sleep(3)
    yield
    for path in folder.glob("[mf]*"):
        path.unlink()


def use_inodes(bed: LocalBed) -> Iterator[None]:
    folder = bed.kept.enter_context(disk(bed, "inodes", "-N", "512"))
    for number in range(600):
        with contextlib.suppress(OSError):
            (folder / str(number)).touch()
    yield
    for path in folder.glob("[0-9]*"):
        path.unlink()


def run_out_of_memory(bed: LocalBed) -> Iterator[None]:
    group = Path("/sys/fs/cgroup/memory") / f"airfleet-drill-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(OOM_BYTES))
        eats = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid())); b = bytearray(1 << 30)"
        done = subprocess.run([find("python3"), "-c", eats], check=False, timeout=PATIENCE_S)
        assert done.returncode == -signal.SIGKILL, done.returncode
        yield
    finally:
        group.rmdir()


def stop_node_exporter(bed: LocalBed) -> Iterator[None]:
    bed.stop_exporter(NODE)
    try:
        yield
    finally:
        bed.start_exporter(NODE)


BROKER = (
    (Drill(("BrokerBlocked",), "the limit of RabbitMQ's memory was set below what it uses", block_broker),),
    (Drill(("BrokerDown",), "RabbitMQ was killed again and again", keep_broker_down),),
)
DATABASE = (
    (
        Drill(("DatabaseConnectionsExhausted",), "sessions took 94 % of the connections", fill_connections),
        Drill(("ArchiveFails",), "the folder of archived WAL got another owner", refuse_archive),
    ),
    (
        Drill(
            ("DatabaseDown", "DatabaseUnreachable"),
            "PostgreSQL was killed again and again",
            keep_database_down,
            is_late=True,
            reported_as="MetadataDatabaseDown",
        ),
    ),
    (Drill(("MetricsStale", "AgentsLoopFails"), "a table that the agents read was renamed", hide_table, fires_s=500),),
)
MACHINE = (
    (
        Drill(("DiskFull",), "97 % of a real disk of 64 MiB was written", fill_disk),
        Drill(("DiskInodesFull",), "all inodes of a real disk were taken", use_inodes),
        Drill(("HostOutOfMemory",), "a process ran out of the memory of its control group", run_out_of_memory),
        Drill(("CertificateExpires",), "the certificate of a host ends in 10 days", expire_soon),
        Drill(("BackupTooOld",), "the newest backup was made two days old", make_backup_old),
    ),
    (
        Drill(("DiskFillsUp",), "a real disk of 64 MiB was filled bit by bit", fill_disk_slowly),
        Drill(("CertificateNotRenewed",), "the certificate of a host ends in 100 days", renew_never),
        Drill(("BackupTooOld",), "the folder of the backups was moved away", hide_backups),
    ),
    (Drill(("HostDown",), "the node exporter of the host was stopped", stop_node_exporter),),
)

"""Which commands change something of a platform, so that the audit log records them. A test reads this list."""

from __future__ import annotations

CHANGES = frozenset(
    {
        *("up", "down", "run", "apply", "failover", "upgrade", "drill"),
        *("release build", "release deploy", "release pin", "release promote", "release prune", "release rollback"),
        *("release unpin", "workers drain", "workers resume", "workers scale"),
        "scale machines",
        *("db archive restore", "db archive run", "db backup", "db care", "db restore"),
        *("alerts ack", "alerts resolve", "alerts silence", "alerts test"),
        *("machines apply", "machines destroy", "breaker close", "breaker open", "audit archive"),
        *("access apply", "access unlock", "access tokens create", "access tokens revoke"),
        *("migrate cutover", "secrets rotate"),
    }
)
# They change nothing of a platform; `init` makes a folder of files, and `airflow` records its own commands.
READS = frozenset(
    {
        *(
            "init",
            "status",
            "top",
            "explain",
            "trace",
            "logs search",
            "logs show",
            "logs views",
            "errors",
            "doctor",
            "test",
            "plan",
        ),
        "dag test",
        *("release check", "release diff", "release list", "release show", "workers list"),
        *("scale explain", "scale hosts", "scale simulate", "usage", "sbom"),
        *("db archive list", "db archive query", "db backups", "alerts list", "sla list", "sla report", "sla show"),
        *(
            "incident",
            "lineage",
            "catalog build",
            "image build",
            "image recipe",
            "machines hosts",
            "machines list",
            "machines plan",
            "migrate assess",
            "export kubernetes",
        ),
        *(
            "machines export terraform",
            "machines inventory",
            "machines sizes",
            "machines user-data",
            "migrate rehearse",
        ),
        *("access explain", "access list", "access plan", "access test", "access tokens list"),
        *("breaker list", "limit list", "secrets list", "vpn config", "vpn list"),
        *("audit list", "audit verify", "audit export", "audit anchor", "airflow", "docs"),
    }
)

"""A PostgreSQL with Airflow's own tables, made from its models, and airfleet's, made by its migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine

import servers


@contextmanager
def serve() -> Iterator[servers.Server]:
    """Yield such a server. Airflow's models take seconds to import, so this is done here."""
    from airflow.models import import_all_models  # noqa: PLC0415 - slow to import
    from airflow.models.base import Base  # noqa: PLC0415

    import_all_models()
    with servers.serve() as one:
        Base.metadata.create_all(create_engine(one.dsn.replace("postgresql:", "postgresql+psycopg2:")))
        servers.migrate(one)
        yield one

"""SQL models as dbt has them: a file is one SELECT, `{{ ref('name') }}` names another model, and the order follows.

Models are built in the schema `build`. Checks judge them there, and read no other schema: what is loaded
meanwhile must not make a check fail. Only then `publish` copies all of them into the schema
`marts`, in one transaction: a reader never sees a half of a refresh, nor data that failed a check.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from include.settings import SQL

MODELS, CHECKS = SQL / "models", SQL / "checks"
BUILD, PUBLISHED = "build", "marts"
_NAME = re.compile(r"(stg|mart)_[a-z_]+")
_REFERENCE = re.compile(r"\{\{\s*(ref|source)\('([a-z_]+)'\)\s*\}\}")


@dataclass(frozen=True)
class Model:
    """One table that is made from others. `check` is a SELECT of one row whose columns must all be true."""

    name: str
    select: str
    needs: tuple[str, ...]
    check: str

    @property
    def build(self) -> str:
        """The statements that make the table anew, whatever was there: in one transaction."""
        return f"drop table if exists {BUILD}.{self.name};\ncreate table {BUILD}.{self.name} as\n{self.select};\n"

    @property
    def publish(self) -> str:
        """The statements that make the published table equal to the one that was built. Its grants stay."""
        published, built = f"{PUBLISHED}.{self.name}", f"{BUILD}.{self.name}"
        return (
            f"create table if not exists {published} (like {built});\n"
            f"delete from {published};\ninsert into {published} table {built};\n"
        )


def read_models(models: Path = MODELS, checks: Path = CHECKS) -> list[Model]:
    """Return the models, each after those that it needs.

    Raises:
        ValueError: A name is not one of a model, or a model that one refers to is missing.
        graphlib.CycleError: Models need each other.
    """
    found = {path.stem: _read(path, checks / path.name) for path in sorted(models.glob("*.sql"))}
    for model in found.values():
        if missing := set(model.needs) - set(found):
            raise ValueError(f"{model.name} refers to {', '.join(sorted(missing))}, which is no model")
    return [found[name] for name in TopologicalSorter({one.name: one.needs for one in found.values()}).static_order()]


def write_publish(models: list[Model]) -> str:
    """Return the statements that publish all models."""
    return f"create schema if not exists {PUBLISHED};\n" + "".join(model.publish for model in models)


def _read(path: Path, check: Path) -> Model:
    if not _NAME.fullmatch(path.stem):
        raise ValueError(f"{path.name}: a model is called stg_… (cleaned) or mart_… (for people)")
    text = path.read_text().strip().rstrip(";")
    needs = sorted({name for kind, name in _REFERENCE.findall(text) if kind == "ref"})
    return Model(path.stem, _resolve(text), tuple(needs), _resolve(check.read_text().strip()))


def _resolve(text: str) -> str:
    """Return SQL with the tables that its references mean."""
    return _REFERENCE.sub(lambda found: f"{BUILD if found[1] == 'ref' else 'public'}.{found[2]}", text)

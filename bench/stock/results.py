"""The results file, and the tables that are printed from it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import support
from stock import ratios


class Results:
    """The results file. It is written after each run, so that an interrupted bench keeps its figures."""

    def __init__(self, path: Path, *, keep: bool) -> None:
        self._path = path
        before = json.loads(path.read_text()) if keep and path.exists() else {}
        self._records: list[dict[str, Any]] = before.get("runs", [])
        self._others: list[dict[str, Any]] = before.get("others", [])
        self._steps: list[dict[str, Any]] = before.get("reference", {}).get("steps", [])

    def add(self, record: dict[str, Any]) -> None:
        """Add one run, and write the file."""
        self._records.append(record)
        self._write()

    def add_step(self, step: dict[str, Any]) -> None:
        """Add one step of the reference load, and write the file."""
        self._steps.append(step)
        self._write()

    def add_other(self, record: dict[str, Any]) -> None:
        """Add one run of another engine, and write the file."""
        self._others.append(record)
        self._write()

    def _write(self) -> None:
        medians = ratios.take_medians(self._records)
        body = {
            "ratios": ratios.compare(medians),
            "slower_than_stock": ratios.find_slower(medians),
            "others": self._others,
            "reference": {"times_real_time_held": ratios.find_held(self._steps), "steps": self._steps},
            "machine": support.describe_machine(),
            "python": sys.version.split()[0],
            "medians": [
                {"system": system, "executor": executor, "history": old, "workload": workload, **figures}
                for (system, executor, old, workload), figures in sorted(medians.items())
            ],
            "runs": self._records,
        }
        self._path.parent.mkdir(exist_ok=True)
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps(body, indent=2) + "\n")
        draft.replace(self._path)

    def show(self) -> None:
        """Print the tables and the ratios."""
        medians = ratios.take_medians(self._records)
        print(ratios.render(medians))
        print("\nCPU-seconds a task by kind of process")
        print(ratios.render_cpu(medians))
        print("\nratios (above 1: airfleet is better; a slowdown: with old task instances against without)")
        for name, value in ratios.compare(medians).items():
            print(f"  {name:<24}{'-' if value is None else value}")
        for other in self._others:
            print(f"{other['engine']} {other['workload']}: {other['wall_s']:.1f} s; {other['leaves_out']}")
        if slower := ratios.find_slower(medians):
            print(f"slower than stock: {', '.join(slower)}")

    def show_reference(self) -> None:
        """Print the fastest reference load that each system held."""
        print("reference load: times real time at which 99 % of tasks start within 5 s")
        for name, factor in ratios.find_held(self._steps).items():
            print(f"  {name:<24}{factor}")

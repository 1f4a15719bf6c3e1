"""What the airline system delivers: a file a month, a control file that vouches for it, and reference files."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from include.files import hash_bytes, write_whole

REFERENCES = ("airlines", "airports", "planes", "weather")
CONTROL_OF_REFERENCES = "references.json"


class DeliveryError(Exception):
    """A delivery that is not what its control file says."""


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Return the month written as 2013-01."""
        if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
            raise ValueError(f"a month is written as 2013-01, not {text!r}")
        return cls(int(text[:4]), int(text[5:]))

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"

    @property
    def first_day(self) -> date:
        return date(self.year, self.number, 1)


@dataclass(frozen=True)
class Control:
    """What the sender says about a month's file."""

    rows: int
    sha256: str


def data_file(folder: Path, month: Month) -> Path:
    """Return where the flights of a month are delivered."""
    return folder / f"flights-{month}.csv.gz"


def control_file(folder: Path, month: Month) -> Path:
    """Return where the control file of a month is delivered."""
    return folder / f"flights-{month}.json"


def reference_file(folder: Path, name: str) -> Path:
    """Return where a reference file is delivered."""
    return folder / f"{name}.csv"


def is_delivered(folder: Path, month: Month) -> bool:
    """Tell whether a month can be read: control files are written after everything they vouch for."""
    return control_file(folder, month).is_file() and (folder / CONTROL_OF_REFERENCES).is_file()


def deliver_month(folder: Path, month: Month, csv: bytes) -> Control:
    """Write a month's file and then its control file, the same bytes for the same flights."""
    packed = gzip.compress(csv, compresslevel=6, mtime=0)
    control = Control(rows=csv.count(b"\n") - 1, sha256=hash_bytes(packed))
    write_whole(data_file(folder, month), packed)
    write_whole(control_file(folder, month), _dump({"rows": control.rows, "sha256": control.sha256}))
    return control


def deliver_references(folder: Path, files: dict[str, bytes]) -> None:
    """Write the reference files and then the control file that vouches for all of them."""
    for name, csv in files.items():
        write_whole(reference_file(folder, name), csv)
    write_whole(folder / CONTROL_OF_REFERENCES, _dump({name: hash_bytes(csv) for name, csv in files.items()}))


def read_control(folder: Path, month: Month) -> Control:
    """Return what the sender says about a month's file."""
    said = json.loads(control_file(folder, month).read_text())
    return Control(rows=int(said["rows"]), sha256=str(said["sha256"]))


def read_month(folder: Path, month: Month) -> bytes:
    """Return the CSV of a month, or raise DeliveryError when it is not the file its control file vouches for."""
    control = read_control(folder, month)
    packed = data_file(folder, month).read_bytes()
    if hash_bytes(packed) != control.sha256:
        raise DeliveryError(f"{data_file(folder, month).name}: the checksum differs from its control file")
    csv = gzip.decompress(packed)
    if (rows := csv.count(b"\n") - 1) != control.rows:
        raise DeliveryError(f"{data_file(folder, month).name}: {rows} rows, the control file says {control.rows}")
    return csv


def _dump(value: dict[str, object] | dict[str, str]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()

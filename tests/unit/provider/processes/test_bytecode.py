"""What a process executes of a file that was saved twice in one second."""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
from pathlib import Path

import pytest

from airfleet_provider.processes import bytecode
from forked import run_forked

SECOND = 1_800_000_000 * 10**9


def save(path: Path, word: str, at: int) -> None:
    path.write_text(f'WORD = "{word}"\n')
    os.utime(path, ns=(at, at))


def read(name: str) -> str:
    importlib.invalidate_caches()
    sys.modules.pop(name, None)
    return str(importlib.import_module(name).WORD)


def test_bytecode_of_an_earlier_save_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    words = tmp_path / "words_saved_twice.py"

    def execute(*, is_own: bool) -> list[str]:
        sys.dont_write_bytecode = not is_own
        bytecode.compare_nanoseconds(tmp_path)
        bytecode.compare_nanoseconds(tmp_path)
        found = []
        for at, word in enumerate(("two", "six", "ten")):
            save(words, word, SECOND + at)
            found.append(read("words_saved_twice"))
        return found

    save(words, "one", SECOND)
    py_compile.compile(str(words))
    assert run_forked(lambda: execute(is_own=False)) == ["two", "six", "ten"]
    assert run_forked(lambda: execute(is_own=True)) == ["two", "six", "ten"]

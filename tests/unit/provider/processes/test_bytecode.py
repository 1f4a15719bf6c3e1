"""What a process executes of a file that was saved twice in one second."""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

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


def test_installed_packages_below_a_project_keep_their_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / ".airfleet" / "environments" / "e" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(packages))
    words = packages / "installed_words.py"
    save(words, "one", SECOND)
    py_compile.compile(str(words))
    save(words, "two", SECOND + 1)  # by which a test sees that Python has read the bytecode

    def execute() -> str:
        bytecode.compare_nanoseconds(tmp_path)
        return read("installed_words")

    assert run_forked(execute) == "one"


def test_a_loader_may_have_a_path(tmp_path: Path) -> None:
    words = tmp_path / "words_by_path.py"
    save(words, "one", SECOND)

    def execute() -> str:
        bytecode.compare_nanoseconds(tmp_path)
        module = ModuleType("words_by_path")
        SourceFileLoader("words_by_path", words).exec_module(module)  # type: ignore[arg-type]
        return str(module.WORD)

    assert run_forked(execute) == "one"


def test_several_folders_of_a_process_count_however_often_they_are_named(tmp_path: Path) -> None:
    def execute() -> str:
        for name in ("a", "b") * (sys.getrecursionlimit() + 1):
            bytecode.compare_nanoseconds(tmp_path / name)
        found = []
        for name in ("a", "b", "elsewhere"):
            (tmp_path / name).mkdir()
            words = tmp_path / name / f"words_{name}.py"
            save(words, "one", SECOND)
            py_compile.compile(str(words))
            save(words, "two", SECOND + 1)
            sys.path.insert(0, str(words.parent))
            found.append(read(words.stem))
        return " ".join(found)

    assert run_forked(execute) == "two two one"

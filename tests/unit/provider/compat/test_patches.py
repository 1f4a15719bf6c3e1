"""The registry of patches: each fits the installed Airflow, and nothing is patched beside it."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import airfleet_provider
from airfleet_provider.compat.patches import patch as patching
from airfleet_provider.compat.patches import requirements
from airfleet_provider.compat.patches.command import run_command
from airfleet_provider.compat.patches.patch import Patch, UnfitAirflowError, apply, undo
from airfleet_provider.compat.patches.registry import PATCHES
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Counts, Digest, Has, UsesOnce, Versions
from deadline import PATIENCE_S
from forked import run_forked

SOURCE = Path(airfleet_provider.__file__).parent
# Packages whose attributes only a patch may change. What is made with their classes is the provider's own.
FOREIGN = ("airflow", "celery", "fastapi", "kombu", "sqlalchemy", "structlog")

each_patch = pytest.mark.parametrize("patch", PATCHES, ids=[patch.name for patch in PATCHES])


def greet(name: str = "you") -> str:
    """What the patches of these tests replace."""
    return f"hello {name}"


HERE = f"{__name__}:greet"
POLITE = Patch(
    name="polite",
    targets=(HERE,),
    requires=(Accepts(HERE, ("name",)),),
    make=lambda old, word: (lambda name="you": f"{word} {old(name)}",),
    without="nobody is polite",
    processes="tests",
)
UNFIT = replace(POLITE, name="unfit", requires=(Contains(HERE, ("goodbye",)),))


@pytest.fixture
def greeting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The function as it is, before the test and after it."""
    monkeypatch.setitem(globals(), "greet", greet)
    patching._warn_once.cache_clear()
    yield
    patching._warn_once.cache_clear()


@each_patch
def test_a_patch_fits_the_installed_airflow_and_says_what_it_is_for(patch: Patch) -> None:
    assert patch.requires, "what is required of the code that it replaces"
    assert patch.find_doubt() is None
    assert patch.without
    assert not patch.without[0].isupper(), "it stands in the middle of a sentence"
    assert not patch.without.endswith(".")
    assert patch.processes


@each_patch
def test_a_patch_is_applied_once_and_can_be_undone(patch: Patch) -> None:
    """With stand-ins for the targets: what a replacement does is the business of its own test."""

    def work() -> list[object]:
        places = [requirements.split(target) for target in patch.targets]
        before = [patching._look_up(*place) for place in places]
        was_applied = patch.is_applied()
        marks = replace(patch, make=lambda *given: tuple(SimpleNamespace(old=one) for one in given[: len(places)]))
        told = [apply(marks), apply(marks), patch.is_applied()]
        now = [patching._look_up(*place) for place in places]
        layers = [isinstance(getattr(one, "old", None), SimpleNamespace) for one in now]
        if not was_applied:
            undo(patch)
            assert [patching._look_up(*place) for place in places] == before
        return [*told, any(layers)]

    assert run_forked(work) == [None, None, True, False]


def test_names_are_unique_and_the_order_is_that_of_the_layers() -> None:
    names = [patch.name for patch in PATCHES]
    assert len(set(names)) == len(names)
    for place, patch in enumerate(PATCHES):
        assert set(patch.over) <= set(names[:place])


def test_patches_that_share_a_target_in_one_process_say_their_order() -> None:
    for one in PATCHES:
        for other in PATCHES:
            shared = one.name < other.name and set(one.targets) & set(other.targets)
            if shared and one.processes == other.processes:
                assert one.name in other.over or other.name in one.over, shared


@pytest.mark.usefixtures("greeting")
def test_a_patch_is_not_laid_below_one_that_belongs_over_it() -> None:
    lower = replace(POLITE, name="lower")
    upper = replace(POLITE, name="upper", over=("lower",))
    apply(upper, "sir,")
    with pytest.raises(RuntimeError, match="applied before upper"):
        apply(lower, "well,")
    undo(upper)
    apply(lower, "well,")
    apply(upper, "sir,")
    apply(lower, "again,")
    assert greet("you") == "sir, well, hello you"


@pytest.mark.usefixtures("greeting")
def test_a_patch_that_does_not_fit_is_told_once_and_airflow_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "airfleet"):
        for _ in range(2):
            assert "goodbye" in str(apply(UNFIT, "sir,"))
    assert [record.getMessage() for record in caplog.records if "nobody is polite" in record.getMessage()] == [
        caplog.records[-1].getMessage()
    ]
    assert greet() == "hello you"
    told: list[str] = []
    apply(UNFIT, "sir,", tell=told.append)
    assert told[0].startswith("nobody is polite: in Airflow ")


@pytest.mark.usefixtures("greeting")
def test_a_required_patch_that_does_not_fit_stops_the_process() -> None:
    with pytest.raises(UnfitAirflowError, match="nobody is polite"):
        apply(replace(UNFIT, is_required=True), "sir,")


@pytest.mark.parametrize(
    "requirement",
    [
        Accepts("no.such.module:function"),
        Accepts("os:no_such_function"),
        Accepts("os:getpid", ("one", "two")),
        Contains("os:walk", ("yield", "no such piece")),
        Contains("no_such_module", ("piece",)),
        Counts("os", "no such piece", 1),
        UsesOnce("os", "no_such_name"),
        Has("os", ("no_such_name",)),
        Digest("the functions", lambda: [greet], "0"),
        Versions(("2.",)),
    ],
    ids=lambda requirement: type(requirement).__name__,
)
def test_what_is_not_as_required_is_an_obstacle_and_no_error(requirement: requirements.Requirement) -> None:
    assert replace(POLITE, requires=(requirement,)).find_obstacle()


def test_a_target_that_is_not_there_is_an_obstacle() -> None:
    assert "is not there" in str(replace(POLITE, targets=("os:no_such_name",)).find_obstacle())


def test_the_command_lists_every_patch(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(SimpleNamespace(output="plain"))
    told = capsys.readouterr().out
    assert all(patch.name in told for patch in PATCHES)


def test_reading_the_registry_imports_no_airflow() -> None:
    """Every process of Airflow reads a part of it, and `tools/reference.py` reads all."""
    code = (
        "import sys, airfleet_provider.compat.patches.registry\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('airflow', 'celery', 'sqlalchemy')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert told.stdout.strip() == "[]"


def find_assignments(path: Path) -> Iterator[str]:
    """Where a module assigns to an attribute of something that it imports from a foreign package."""
    tree = ast.parse(path.read_text())
    foreign = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if (getattr(node, "module", None) or alias.name).split(".")[0] in FOREIGN
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            yield f"{path.relative_to(SOURCE)}:{node.lineno}"
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            root: ast.expr = node
            while isinstance(root, ast.Attribute | ast.Subscript):
                root = root.value
            if isinstance(root, ast.Name) and root.id in foreign:
                yield f"{path.relative_to(SOURCE)}:{node.lineno}"


def test_nothing_of_airflow_is_replaced_but_by_the_registry() -> None:
    found = [place for path in sorted(SOURCE.rglob("*.py")) for place in find_assignments(path)]
    # kombu has a table of transports by the schemes of URLs, for others to add theirs.
    transports = "network/verified_amqp.py"
    assert {place.partition(":")[0] for place in found} == {"compat/patches/patch.py", transports}


def test_an_assignment_beside_the_registry_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    (tmp_path / "sly.py").write_text("from airflow import settings as s\ns.Session = 1\nsetattr(s, 'x', 1)\ny = s.x\n")
    assert sorted(find_assignments(tmp_path / "sly.py")) == ["sly.py:2", "sly.py:3"]

"""The alert rules in real promtool: which alerts fire when, and which do not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from airfleet.components.monitoring import rule_files
from deadline import COMMAND_S
from places import parse

TESTS = sorted((Path(__file__).parents[2] / "unit" / "components" / "monitoring" / "rules").glob("*.yaml"))
PROMTOOL = shutil.which("promtool")
TEXTS = rule_files.list_files(parse("name: flights\nhosts: {one: {address: 127.0.0.1}}\n"))
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="no promtool here: tools/prometheus installs it")


def promtool(*words: str | Path, folder: Path) -> None:
    assert PROMTOOL
    done = subprocess.run(
        [PROMTOOL, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=COMMAND_S
    )
    assert done.returncode == 0, done.stdout + done.stderr


def write_rules(folder: Path, *, annotated: bool) -> None:
    for name, text in TEXTS.items():
        rules = yaml.safe_load(text)
        for group in rules["groups"]:
            for rule in group["rules"]:
                if not annotated:
                    rule.pop("annotations", None)
        (folder / name).write_text(text if annotated else yaml.safe_dump(rules))


@pytest.mark.parametrize("test", TESTS, ids=lambda path: path.stem)
def test_the_alerts_fire_when_they_should_and_only_then(test: Path, tmp_path: Path) -> None:
    # promtool compares annotations too; a test of each text would only repeat it.
    write_rules(tmp_path, annotated=False)
    shutil.copy(test, tmp_path / "test.yaml")
    promtool("test", "rules", "test.yaml", folder=tmp_path)


def test_prometheus_accepts_every_rule_and_every_text_of_an_alert(tmp_path: Path) -> None:
    write_rules(tmp_path, annotated=True)
    promtool("check", "rules", *TEXTS, folder=tmp_path)

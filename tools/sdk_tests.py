"""Write docs/reference/sdk-tests.md: how Airflow's own tests of the task SDK fare with airfleet's task runtime.

python tools/sdk_tests.py   takes them from the SDK's source distribution, and keeps that in .tools/sdk-tests
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "sdk-tests.md"
HOME = ROOT / ".tools" / "sdk-tests"
ORACLE = ROOT / "tests" / "oracle"
NOTE = "<!-- Written by tools/sdk_tests.py from two runs. -->"
SDK = "apache-airflow-task-sdk"
FOLDERS = ("execution_time", "api")
# It runs Airflow's own loop of a task against fixtures that come with Airflow's repository, and starts no process.
LEFT_OUT = "execution_time/test_task_runner.py"
LOCKS = ROOT / "constraints"
# Why tests whose name has this part fare differently.
WHY: Mapping[str, str] = {
    "test_secrets.TestContextDetection.": "back ends are wrapped, so that a lookup fails if one of them failed"
    " ([decision 13](../adr/0013-outages-cost-waiting.md)): `type` names the wrapper, `isinstance` the original",
    "test_secrets.TestSecretsBackendMemoisation.": "each lookup wraps the back ends anew, to collect its own failures;"
    " the back ends themselves are built once, as in Airflow",
}
# Seconds for one test. On a busy machine, some take more than a minute.
HANGS_S = 600

Results = Mapping[str, str]


def main() -> None:
    """Run the tests with Airflow's own task runtime and with airfleet's, and write the page."""
    tests = fetch(version(SDK))
    stock, own = run(tests, "stock"), run(tests, "own", "-p", "warm_starts")
    (started,) = re.findall(r"airfleet started (\d+) tasks", (HOME / "own.log").read_text())
    PAGE.write_text(describe(stock, own, started))
    print(PAGE.read_text())


def fetch(wanted: str) -> Path:
    """Return the folder with the tests of a version of the SDK. What they need beside Airflow is installed, too.

    Everything is checked against the hashes of the locks, the source distribution of the SDK among it.
    """
    folder = HOME / f"{SDK.replace('-', '_')}-{wanted}"
    if not folder.exists():
        HOME.mkdir(parents=True, exist_ok=True)
        packages = LOCKS / "sdk-tests.txt"
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--require-hashes"]
        subprocess.run([*uv, "--target", HOME / "lib", "--no-deps", "--requirement", packages], check=True)
        source = HOME / "source.txt"
        source.write_text(find_pin((LOCKS / "airflow-3.3.2.txt").read_text(), SDK))
        # uv downloads no source distribution; pip builds its metadata with what lib has.
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--require-hashes"]
        options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
        subprocess.run(
            [*pip, *options, "--dest", HOME, "--requirement", source],
            env=os.environ | {"PYTHONPATH": str(HOME / "lib")},
            check=True,
        )
        with tarfile.open(next(HOME.glob(f"*-{wanted}.tar.gz"))) as archive:
            archive.extractall(HOME, filter="data")
    return folder / "tests"


def find_pin(lock: str, name: str) -> str:
    """Return the lines of a lock about one package: its version and its hashes."""
    (block,) = re.findall(rf"^{re.escape(name)}==.*(?:\n .*)*", lock, re.MULTILINE)
    return str(block)


def run(tests: Path, name: str, *words: str) -> Results:
    """Run tests, and return the outcome of each by its name."""
    report = HOME / f"{name}.xml"
    paths = [str(path) for path in (ORACLE, HOME / "lib", tests)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "AIRFLOW_HOME": str(HOME / "airflow")}
    options = [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-q",
        f"--timeout={HANGS_S}",
        f"--junitxml={report}",
        "-c",
        "/dev/null",
    ]
    folders = [str(tests / "task_sdk" / folder) for folder in FOLDERS]
    left_out = f"--ignore={tests / 'task_sdk' / LEFT_OUT}"
    command = [sys.executable, "-m", "pytest", f"--rootdir={tests}", *options, left_out, *words, *folders]
    with (HOME / f"{name}.log").open("w") as log:
        subprocess.run(command, env=environment, cwd=tests, stdout=log, stderr=subprocess.STDOUT, check=False)
    return read(report)


def read(report: Path) -> Results:
    found = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
        file = case.get("classname", "").removeprefix("task_sdk.")
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[f"{file}.{case.get('name')}"] = outcome
    return found


def describe(stock: Results, own: Results, started: str) -> str:
    """Return the page."""
    counts = [Counter(results.values()) for results in (stock, own)]
    differ = sorted(name for name in stock if stock[name] != own.get(name, "missing"))
    fail = [name.rpartition(".")[2] for name in sorted(stock) if stock[name] == own.get(name) == "failed"]
    unexplained = [name for name in differ if not explain(name)]
    lines = [
        "# Airflow's own tests of the task SDK",
        "",
        NOTE,
        "",
        f"The tests of {SDK} {version(SDK)} in `{'/` and `'.join(FOLDERS)}/`, as they are, and with airfleet's",
        f"task runtime: {started} tasks were forked elsewhere, in processes with its groundwork, under its supervisor.",
        f"`make sdk-tests` runs them. `{LEFT_OUT}` is left out: it starts no process, and its",
        "fixtures come with Airflow's repository only. What a task may do is compared in both ways by",
        "`tests/local/test_task_runtime.py`, on a platform.",
        "",
        "| | passed | failed | skipped |",
        "|---|---|---|---|",
        *(
            f"| {name} | {count['passed']} | {count['failed']} | {count['skipped']} |"
            for name, count in zip(("Airflow's own way", "airfleet's"), counts, strict=True)
        ),
        "",
        *tabulate(differ, stock, own),
        "",
        f"Both ways fail {len(fail)}, most for the sake of a fixture that stands in here for Airflow's own:",
        ", ".join(f"`{name}`" for name in fail) + ".",
        "",
    ]
    if unexplained:
        print(f"not explained: {', '.join(unexplained)}", file=sys.stderr)
    return "\n".join(lines)


def tabulate(names: Sequence[str], stock: Results, own: Results) -> list[str]:
    if not names:
        return ["No test fares differently."]
    rows = [f"| `{name}` | {stock[name]} | {own.get(name, 'missing')} | {explain(name)} |" for name in names]
    return ["| test | Airflow's own way | airfleet's | why |", "|---|---|---|---|", *rows]


def explain(name: str) -> str:
    return next((why for part, why in WHY.items() if part in name), "")


if __name__ == "__main__":
    main()

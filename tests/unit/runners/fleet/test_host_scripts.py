"""Scripts as they run on hosts: wrapped, audited, and with one line and a hint where they fail."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from airfleet.components.host_model import Stage
from airfleet.runners.fleet.apply import applier
from airfleet.runners.fleet.plan import steps
from airfleet.runners.fleet.transport import connection, detached_script
from deadline import PATIENCE_S, wait_until
from host_programs import install


def test_steps_leave_an_audit_line_up_to_the_first_that_fails(tmp_path: Path) -> None:
    files = (tmp_path / "one", tmp_path / "no" / "such" / "file", tmp_path / "two")
    files[1].parent.mkdir(parents=True)
    files[1].mkdir()  # rm -f cannot remove it
    batch = [steps.Step("h1", Stage.BASE, steps.RemoveFile(file), "remove it", "because it's ours") for file in files]
    text = applier.build_script(batch, "eve o'x").replace("/var/log/airfleet", str(tmp_path / "log"))
    done = subprocess.run(["sh", "-s"], input=text, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 1
    told = [line.split(" ", 1)[1] for line in (tmp_path / "log" / "audit.log").read_text().splitlines()]
    assert told == [
        "eve o'x done: remove it (because it's ours)",
        "eve o'x failed: remove it (because it's ours)",
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("cp: error writing 'x': No space left on device", "the disk is full"),
        ("E: Failed to fetch http://deb/x  Connection refused", "the package mirror does not answer"),
        (
            "E: You don't have enough free space in /var/cache/apt/archives/.\nE: not enough free space",
            "the disk is full",
        ),
        ("Temporary failure resolving 'deb.debian.org'", "cannot resolve its package mirror"),
        ("E: Unable to locate package haproxy", "the package mirror lacks it"),
        ("something else", "run the command again"),
    ],
)
def test_a_known_failure_has_its_own_hint(text: str, hint: str) -> None:
    assert hint in connection.find_hint(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Err:1 http://deb x\nE: Failed to fetch http://deb/x  Connection timed out\nE: Some index files failed",
            "E: Failed to fetch http://deb/x  Connection timed out",
        ),
        (
            "tar: a/b: Cannot write: No space left on device\ntar: Exiting",
            "tar: a/b: Cannot write: No space left on device",
        ),
        ("one\ntwo\n\n", "two"),
        ("dpkg: error: it is locked\nNote: removing the lock\nand the entire system.", "dpkg: error: it is locked"),
        ("", ""),
    ],
)
def test_of_all_that_a_command_said_one_line_is_told(text: str, told: str) -> None:
    assert connection.find_telling(text) == told


def test_what_a_host_says_moves_no_cursor_and_sets_no_title() -> None:
    told = connection.find_telling("error: \x1b]0;title\x07\x1b[2Jwell")
    assert told == r"error: \x1b]0;title\x07\x1b[2Jwell"


def run_wrapped(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    text = detached_script.wrap(script).replace(detached_script.NAME, str(folder / "apply"))
    return subprocess.run(["sh", "-s"], input=text, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def test_a_wrapped_script_keeps_its_exit_code_and_both_its_outputs(tmp_path: Path) -> None:
    done = run_wrapped(tmp_path, "echo data; echo talk >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "data\n", "talk\n")


def test_a_wrapped_script_waits_for_one_that_an_earlier_apply_left_and_goes_on_unheard(tmp_path: Path) -> None:
    mark, go = tmp_path / "mark", tmp_path / "go"
    first = f"touch {tmp_path}/began; while ! [ -e {go} ]; do sleep 0.05; done; seq 100000; echo first >> {mark}"
    text = detached_script.wrap(first).replace(detached_script.NAME, str(tmp_path / "apply"))
    with subprocess.Popen(["sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as left:
        assert left.stdin
        assert left.stdout
        left.stdin.write(text.encode())
        left.stdin.close()
        left.stdout.close()  # whoever read it has died
        wait_until((tmp_path / "began").exists, "the first script to begin")
        threading.Timer(0.2, go.touch).start()
        assert run_wrapped(tmp_path, f"echo second >> {mark}").returncode == 0
    assert mark.read_text() == "first\nsecond\n"


def test_an_archive_that_was_cut_off_is_never_put_in_place(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar.gz"
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "big").write_bytes(os.urandom(200_000))
    subprocess.run(["tar", "-czf", whole, "-C", tmp_path, "lib"], check=True)
    script = steps.script(steps.Unpack("abc", "python3")).replace("/opt/airfleet", str(tmp_path / "opt"))
    done = subprocess.run(
        ["sh", "-c", f"(set -e\n{script}\n)"], input=whole.read_bytes()[:100_000], capture_output=True, check=False
    )
    assert done.returncode != 0
    assert not (tmp_path / "opt" / "abc").exists()


def test_packages_whose_removal_was_cut_off_are_never_taken_for_the_whole(tmp_path: Path) -> None:
    opt, programs = tmp_path / "opt", tmp_path / "programs"
    (opt / "abc").mkdir(parents=True)
    for name in ("one", "two"):
        (opt / "abc" / name).touch()
    programs.mkdir()
    # It dies with the script in the middle of its work.
    die = 'if [ -e "$path/one" ]; then /bin/rm "$path/one"; kill -9 $PPID; fi'
    host = install(programs, rm=f'for path in "$@"; do {die}; done')
    script = steps.script(steps.RemoveRuntime("abc")).replace("/opt/airfleet", str(opt))
    done = subprocess.run(["sh", "-c", f"set -e\n{script}"], env=host, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert not (opt / "abc").exists()
    for action in (steps.RemoveRuntime("def"), steps.RemoveRuntime("abc")):
        script = steps.script(action).replace("/opt/airfleet", str(opt))
        subprocess.run(["sh", "-c", f"set -e\n{script}"], check=True)
        assert list(opt.iterdir()) == []

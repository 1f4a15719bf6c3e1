"""Secrets are read where references point, and are never printed."""

from __future__ import annotations

import copy
import json
import os
import pickle
import traceback
from pathlib import Path

import pytest

from airfleet.errors import UsageError
from airfleet.spec import secrets
from airfleet.spec.secret_ref import SecretRef
from airfleet.spec.secrets import Secret

WORD = "hunter2"
ENVIRON = {"PATH": os.environ["PATH"], "TOKEN": WORD, "EMPTY": ""}


def resolve(ref: SecretRef, project: Path) -> str:
    return secrets.resolve(ref, environ=ENVIRON, project=project, where="fleet.yaml: env.TOKEN").reveal()


def written(project: Path, content: bytes, mode: int = 0o600) -> SecretRef:
    path = project / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return SecretRef(file="secret")


@pytest.mark.parametrize(
    "printed",
    [str, repr, "{}".format, "{:>20}".format, lambda secret: f"{secret!r}", lambda secret: f"{[secret]}"],
)
def test_a_secret_is_never_printed(printed: object) -> None:
    assert callable(printed)
    shown = printed(Secret(WORD))
    assert WORD not in shown
    assert "***" in shown


def test_a_secret_is_not_written_by_json_or_pickle() -> None:
    assert json.dumps({"a": Secret(WORD)}, default=str) == '{"a": "***"}'
    for dump in (json.dumps, pickle.dumps):
        with pytest.raises(TypeError) as caught:
            dump(Secret(WORD))
        assert WORD not in str(caught.value)


def test_a_secret_survives_a_copy_and_has_no_hash() -> None:
    assert copy.deepcopy([Secret(WORD)])[0].reveal() == WORD
    with pytest.raises(TypeError):
        hash(Secret(WORD))


@pytest.mark.parametrize("other", ["hunter3", "hunter", "", "\udcff", "pässwort"])
def test_secrets_compare_by_value_and_never_with_text(other: str) -> None:
    assert Secret(other) == Secret(other)
    assert Secret(WORD) != Secret(other)
    assert Secret(other) != other


@pytest.mark.parametrize("ref", [{}, {"env": "A", "file": "b"}, {"env": ""}, {"command": ()}])
def test_a_reference_has_exactly_one_source(ref: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        SecretRef(**ref)


@pytest.mark.parametrize(
    "ref",
    [
        SecretRef(env="TOKEN"),
        SecretRef(command=("printenv", "TOKEN")),
        SecretRef(command="printenv TOKEN | cat"),
        SecretRef(command=("cat", "beside")),  # a command runs in the project
    ],
)
def test_environment_and_commands_give_the_secret(ref: SecretRef, tmp_path: Path) -> None:
    (tmp_path / "beside").write_text(WORD)
    assert resolve(ref, tmp_path) == WORD


def test_a_list_runs_without_a_shell(tmp_path: Path) -> None:
    assert resolve(SecretRef(command=("echo", "$TOKEN; id")), tmp_path) == "$TOKEN; id"


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"a", "a"), (b"a\n", "a"), (b"a\r\n", "a"), (b"a\n\n", "a\n"), (b" a \n", " a "), (b"a\r\nb\n", "a\r\nb")],
)
def test_one_trailing_newline_is_taken_off_a_file(content: bytes, value: str, tmp_path: Path) -> None:
    assert resolve(written(tmp_path, content), tmp_path) == value


def test_a_file_may_be_given_by_its_absolute_path(tmp_path: Path) -> None:
    written(tmp_path, WORD.encode())
    assert resolve(SecretRef(file=str(tmp_path / "secret")), Path("elsewhere")) == WORD


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o601])
def test_a_file_open_to_others_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(written(tmp_path, WORD.encode(), mode), tmp_path)
    assert caught.value.what == f"the file secret is open to other users (mode {mode:04o})"
    assert caught.value.hint == "chmod 600 secret"


@pytest.mark.parametrize(
    ("ref", "what"),
    [
        (SecretRef(env="GONE"), "the environment variable GONE is not set"),
        (SecretRef(env="EMPTY"), "the environment variable EMPTY is empty"),
        (SecretRef(file="gone"), "the file gone cannot be read: No such file or directory"),
        (SecretRef(file="."), "the file . cannot be read: Is a directory"),
        (SecretRef(file="~nobody-of-this-name/a"), "the file ~nobody-of-this-name/a cannot be read"),
        (SecretRef(command=("true",)), "the command's output is empty"),
        (SecretRef(command="echo"), "the command's output is empty"),
        (SecretRef(command=("no-such-program", WORD)), "the command no-such-program cannot be started"),
        (SecretRef(command=f"echo {WORD}; echo {WORD} >&2; exit 3"), "the shell command failed with exit code 3"),
        (SecretRef(command=("sh", "-c", f"echo {WORD}; kill -9 $$")), "the command sh failed with exit code -9"),
        (SecretRef(command=f"printf '{WORD}\\377'"), "the command's output is not UTF-8 text"),
        (SecretRef(command="cat"), "the command's output is empty"),  # it gets no input, so it cannot hang on it
    ],
)
def test_a_failure_says_where_and_what_to_do_without_the_secret(
    ref: SecretRef, what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(ref, tmp_path)
    assert caught.value.what.startswith(what)
    assert caught.value.where == "fleet.yaml: env.TOKEN"
    assert caught.value.hint
    assert WORD not in "".join(traceback.format_exception_only(caught.value))
    assert WORD not in "".join(capfd.readouterr())


def test_a_command_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "COMMAND_SECONDS", 0.2)
    with pytest.raises(UsageError, match=r"the shell command did not end within 0\.2 s"):
        resolve(SecretRef(command=f"echo {WORD}; sleep 20"), tmp_path)

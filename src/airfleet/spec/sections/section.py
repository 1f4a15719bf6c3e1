"""The base class and the helper types of all sections of fleet.yaml."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

_SECRET_KEY = re.compile(r"(password|passwd|secret|token|access_key|private_key|api_key)$", re.IGNORECASE)


def rule(what: str, hint: str = "") -> PydanticCustomError:
    """Return an error whose text and hint reach the user unchanged."""
    return PydanticCustomError("rule", "{what}", {"what": what, "hint": hint})


def shaped(pattern: str, words: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Return annotations for a text that must match `pattern` as a whole. `words` describes the pattern in errors."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise PydanticCustomError("shape", "{words}", {"words": words})
        return value

    return AfterValidator(check), WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


def check_store(store: str, hint: str) -> str:
    """Return the place of files that fsspec knows, without a slash at its end: a folder by its whole path, or a URL.

    Raises:
        PydanticCustomError: It is neither, and `hint` says what to write; or the URL has a password.
    """
    if store.startswith("/"):
        return store
    parts = urlsplit(store)
    if not parts.scheme or not store.startswith(f"{parts.scheme}://"):
        raise rule(f"{store!r} is no place", hint)
    if parts.password:
        raise rule("fleet.yaml never holds a password, and this URI carries one", "set it as an FSSPEC_ variable")
    return store.rstrip("/")


def check_base_url(url: str, of: str, example: str, secret: str) -> str:
    """Return the base URL of a server, `of` which it is. `secret` says where fleet.yaml has what lets clients in.

    Raises:
        PydanticCustomError: It is no URL of a web server, or it has a login, a query or a fragment.
    """
    parts = urlsplit(url)
    try:
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if parts.scheme not in ("http", "https") or not has_host:
        raise rule(f"not the URL of {of}", f"write {example}")
    if parts.username is not None:
        raise rule("fleet.yaml never holds a password, and this URL carries a login", f"write it as {secret}")
    if parts.query or parts.fragment:
        raise rule(f"the URL of {of} has no query", f"write a secret as {secret}")
    return url


class Section(BaseModel):
    """A map that refuses unknown keys and does not convert values to other types."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        # In the JSON Schema, the title of a section is the name of the section and not of its class.
        model_title_generator=lambda model: model.__name__.removesuffix("Section"),
    )


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise rule(
            f"not a regular expression: {error}", "put a backslash before a character that means itself"
        ) from None
    return text


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_pattern)]


def is_secret_key(key: str) -> bool:
    """Return whether the name of a key suggests that its value is a secret."""
    return _SECRET_KEY.search(key) is not None

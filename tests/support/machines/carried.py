"""The parts of this box's configuration that a machine needs to reach the same package mirrors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_APT_OPTIONS = re.compile(r"^Acquire::(https?|ftp|Retries|Check-Valid-Until|Check-Date|ForceIPv[46])\b.*", re.MULTILINE)
_ENVIRONMENT = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "UV_INDEX_URL", "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip


@dataclass(frozen=True)
class Carried:
    """Files to lay into an image, and the mirror that it is built from."""

    mirror: str
    files: Mapping[str, bytes] = field(default_factory=dict)


def pick_mirror(sources: Iterable[str], suite: str) -> str:
    """The first mirror of a suite that apt's source files name, in either of their two formats; empty if none."""
    for text in sources:
        for paragraph in re.split(r"\n\s*\n", text):
            keys: dict[str, str] = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.+)$", paragraph, re.MULTILINE))
            if suite in keys.get("Suites", "").split() and "deb" in keys.get("Types", "").split():
                return keys["URIs"].split()[0]
        for options in re.findall(r"^deb[ \t]+(?:\[[^]]*\][ \t]+)?(\S+)[ \t]+(\S+)", text, re.MULTILINE):
            if options[1] == suite:
                return str(options[0])
    return ""


def pick_apt_options(dump: str) -> str:
    """The options of `apt-config dump` that say how mirrors are reached."""
    return "".join(f"{match.group()}\n" for match in _APT_OPTIONS.finditer(dump))


def pick_pip_options(listing: str) -> str:
    """A pip.conf of the options of `pip config list` that make sense on another machine: no folders of this box."""
    wanted = {}
    for key, value in re.findall(r"^(?:global|install)\.([a-z-]+)='(.*)'$", listing, re.MULTILINE):
        words = [word for word in value.replace("\\n", " ").split() if not word.startswith("file:")]
        if key in ("index-url", "extra-index-url", "trusted-host", "proxy", "cert", "timeout") and words:
            wanted[key] = " ".join(words)
    return "".join(["[global]\n", *(f"{key} = {value}\n" for key, value in wanted.items())]) if wanted else ""


def pick_environment(environment: Mapping[str, str]) -> str:
    """Lines for /etc/environment: how this box reaches registries, and the certificates that it trusts."""
    return "".join(f'{name}="{environment[name]}"\n' for name in _ENVIRONMENT if environment.get(name))


def pick_name_servers(files: Iterable[str]) -> str:
    """The first resolv.conf whose servers can be reached from another address."""
    for text in files:
        servers = re.findall(r"^nameserver[ \t]+(\S+)", text, re.MULTILINE)
        if servers and not any(one.startswith("127.") or one == "::1" for one in servers):
            return text
    return ""

"""The configuration that a test machine gets from its box."""

from __future__ import annotations

import pytest

from machines import carried

DEB822 = """\
# kept by hand
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main
"""
SOURCE_ONLY = "Types: deb-src\nURIs: http://source.example/debian\nSuites: bookworm\nComponents: main\n"
ONE_LINE = (
    "# deb http://off.example/debian bookworm main\ndeb [signed-by=/k.gpg] https://old.example/debian bookworm main\n"
)


@pytest.mark.parametrize(
    ("sources", "suite", "mirror"),
    [
        ([DEB822], "bookworm", "http://mirror.example/debian"),
        ([DEB822], "bookworm-security", "http://security.example/debian-security"),
        ([DEB822], "trixie", ""),
        ([SOURCE_ONLY], "bookworm", ""),
        ([ONE_LINE], "bookworm", "https://old.example/debian"),
        (["", SOURCE_ONLY, ONE_LINE, DEB822], "bookworm", "https://old.example/debian"),
    ],
)
def test_the_mirror_is_the_first_that_serves_the_suite(sources: list[str], suite: str, mirror: str) -> None:
    assert carried.pick_mirror(sources, suite) == mirror


def test_of_apts_options_only_those_that_say_how_mirrors_are_reached_are_carried() -> None:
    dump = (
        'APT::Architecture "amd64";\nAcquire::http::Proxy "http://proxy.example:3142";\nAcquire::httpx "no";\n'
        'Acquire::Check-Date "false";\nAcquire::Languages:: "none";\nDPkg::Pre-Install-Pkgs:: "x";\n'
    )
    assert carried.pick_apt_options(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3142";\nAcquire::Check-Date "false";\n'
    )


def test_pip_is_told_of_registries_and_certificates_but_not_of_folders_of_the_box() -> None:
    listing = (
        "global.cert='/etc/ssl/certs/ca.crt'\nglobal.extra-index-url='file:///wheels/simple https://pypi.example/simple'\n"
        "global.find-links='/wheels'\n:env:.timeout='9'\n"
    )
    assert carried.pick_pip_options(listing) == (
        "[global]\ncert = /etc/ssl/certs/ca.crt\nextra-index-url = https://pypi.example/simple\n"
    )
    assert carried.pick_pip_options("global.find-links='/wheels'\n") == ""


def test_the_environment_carries_proxies_and_nothing_secret() -> None:
    environment = {"https_proxy": "http://proxy.example", "AWS_SECRET_ACCESS_KEY": "s", "NO_PROXY": ""}
    assert carried.pick_environment(environment) == 'https_proxy="http://proxy.example"\n'


def test_name_servers_on_the_boxs_loopback_are_passed_over() -> None:
    assert carried.pick_name_servers(["nameserver 127.0.0.53\n", "nameserver 9.9.9.9\n"]) == "nameserver 9.9.9.9\n"
    assert carried.pick_name_servers(["search example\n"]) == ""

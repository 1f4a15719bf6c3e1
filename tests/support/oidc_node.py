"""A certified OpenID provider on this machine, for tests, and a browser that logs in there."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from airfleet.runners.local import ports
from airfleet.workspace import certificate_authority
from deadline import PATIENCE_S, REQUEST_S, wait_until

LIBRARY = Path(__file__).parents[2] / ".tools/oidc/node_modules/oidc-provider/lib/index.js"
NODE = shutil.which("node") if LIBRARY.exists() else None
MISSING = "no OpenID provider here; `tools/oidc` installs it (npm install oidc-provider, with Node 20)"
CLIENT, SECRET = "airflow", "of the client, which is long enough"


class OidcNode:
    """A provider with the users of a file. With `lean`, claims are at the userinfo endpoint and not in the ID token."""

    def __init__(self, folder: Path, redirect: str, *, lean: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = ports.find_several(1)
        self.issuer = f"https://localhost:{self.port}"
        now = datetime.now(UTC)
        authority = certificate_authority.load(certificate_authority.create("test", now), where="test")
        self.authority = authority.pem
        self.context = ssl.create_default_context(cadata=self.authority)
        own = certificate_authority.issue(authority, "localhost", ["localhost"], now)
        (folder / "cert.pem").write_text(own.certificate)
        (folder / "key.pem").write_text(own.key.reveal())
        self._users = folder / "users.json"
        self.write_users({})
        settings = {
            "library": str(LIBRARY),
            "issuer": self.issuer,
            "port": self.port,
            "client": CLIENT,
            "secret": SECRET,
            "redirects": [redirect],
            "users": str(self._users),
            "cert": str(folder / "cert.pem"),
            "key": str(folder / "key.pem"),
            "lean": lean,
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        self._folder = folder
        self.start()

    def start(self) -> None:
        assert NODE
        program = Path(__file__).with_name("oidc_provider.mjs")
        with (self._folder / "oidc.log").open("ab") as log:
            self._process = subprocess.Popen(
                [NODE, str(program), str(self._folder / "settings.json")], stdout=log, stderr=log
            )
        wait_until(self._is_up, "the OpenID provider", seen=(self._folder / "oidc.log").read_text)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def write_users(self, users: Mapping[str, Mapping[str, Any]]) -> None:
        """Let these be the users, by their subject, with their claims."""
        self._users.write_text(json.dumps(users))

    def open_browser(self) -> httpx.Client:
        return httpx.Client(verify=self.context, timeout=REQUEST_S, trust_env=False)

    def log_in(self, browser: httpx.Client, url: str, subject: str) -> str:
        """Walk the provider's pages as this user, and return where it sends the browser at the end."""
        answer = browser.get(url)
        for _ in range(10):
            if answer.is_redirect:
                to = str(httpx.URL(answer.url).join(answer.headers["location"]))
                if not to.startswith(self.issuer):
                    return to
                answer = browser.get(to)
                continue
            assert answer.status_code == 200, answer.text
            found = re.search(r'action="([^"]+)"', answer.text)
            assert found, answer.text
            prompt = "login" if 'name="login"' in answer.text else "consent"
            answer = browser.post(found[1], data={"prompt": prompt, "login": subject, "password": "any"})
        raise AssertionError("the provider sends the browser round in a circle")

    def _is_up(self) -> bool:
        assert self._process.poll() is None, (self._folder / "oidc.log").read_text()
        try:
            with self.open_browser() as browser:
                return browser.get(f"{self.issuer}/.well-known/openid-configuration").status_code == 200
        except httpx.TransportError:
            return False

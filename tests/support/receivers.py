"""Real receivers of notifications: a mail server and an HTTP server, which can be down, slow or unwilling."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from airfleet.runners.local import ports
from airfleet.workspace import certificate_authority
from airfleet_provider.contract.notification_policy import Receiver, ReceiverType


@dataclass(frozen=True)
class Answer:
    """What an HTTP receiver answers. It takes a message only if the status is a success."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    # Take the message, and close the connection without an answer.
    is_silent: bool = False


@dataclass
class Request:
    """A request that an HTTP receiver has answered."""

    path: str
    headers: Mapping[str, str]
    body: Any
    answer: Answer

    @property
    def is_taken(self) -> bool:
        # A sender that is killed may send no body any more.
        return self.body is not None and (self.answer.is_silent or 200 <= self.answer.status < 300)


class HttpReceiver:
    """An HTTP server, by default on the loopback. While it is down, nothing listens.

    `answers` are given in turn, then 200.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.port = ports.find_free()
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        # Decides by the content, in place of `answers`.
        self.judge: Callable[[Any], Answer] | None = None
        # Called when a request has arrived whole.
        self.before_answer: Callable[[], object] | None = None
        self._server: ThreadingHTTPServer | None = None

    def choose(self, body: object) -> Answer:
        if self.judge:
            return self.judge(body)
        return self.answers.pop(0) if self.answers else Answer()

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def taken(self) -> list[Request]:
        return [one for one in self.requests if one.is_taken]

    def start(self) -> None:
        handler = type("Handler", (_Handler,), {"receiver": self})
        self._server = ThreadingHTTPServer((self.address, self.port), handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Handler(BaseHTTPRequestHandler):
    receiver: ClassVar[HttpReceiver]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))) or b"null")
        answer = self.receiver.choose(body)
        self.receiver.requests.append(Request(self.path, dict(self.headers), body, answer))
        if self.receiver.before_answer:
            self.receiver.before_answer()
        if answer.is_silent:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, text in answer.headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", "2")
        self.end_headers()
        with contextlib.suppress(OSError):  # a sender that was killed
            self.wfile.write(b"ok")

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
        pass


@contextlib.contextmanager
def serve_http() -> Iterator[HttpReceiver]:
    receiver = HttpReceiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


class MailReceiver:
    """A mail server, by default on the loopback, that takes STARTTLS and a login, if it is given a certificate.

    `answers` are given in turn to the text of a mail, then 250. A mail is taken only if its answer begins with 2.
    """

    LOGIN, PASSWORD = "airfleet", "correct horse"

    def __init__(self, folder: Path, *, is_encrypted: bool = True, address: str = "127.0.0.1") -> None:
        self.address = address
        self.port = ports.find_free()
        self.mails: list[EmailMessage] = []
        self.recipients: list[tuple[str, ...]] = []
        self.answers: list[str] = []
        self.refused: set[str] = set()
        self.authority = folder / "authority.pem"
        self._tls = _make_tls(folder) if is_encrypted else None
        self._controller: Controller | None = None

    def start(self) -> None:
        words: dict[str, Any] = {}
        if self._tls:
            words = {
                "tls_context": self._tls,
                "require_starttls": True,
                "authenticator": self._authenticate,
                "auth_required": True,
            }
        self._controller = Controller(self, hostname=self.address, port=self.port, **words)
        self._controller.start()

    def stop(self) -> None:
        if self._controller:
            self._controller.stop()
            self._controller = None

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (self.LOGIN.encode(), self.PASSWORD.encode()))

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("2"):
            mail = message_from_bytes(envelope.original_content or b"", policy=policy.default)
            self.mails.append(mail)
            self.recipients.append(tuple(envelope.rcpt_tos))
        return answer


def mail_to(server: MailReceiver, *to: str) -> Receiver:
    """Return the receiver that fleet.yaml would name for this server."""
    return Receiver(
        "mail",
        ReceiverType.EMAIL,
        to=to or ("team@example.com",),
        sender="airfleet@example.com",
        host="127.0.0.1",
        port=server.port,
        login=server.LOGIN,
        secret=server.PASSWORD,
        authority=str(server.authority),
    )


@contextlib.contextmanager
def serve_mail(folder: Path, *, is_encrypted: bool = True) -> Iterator[MailReceiver]:
    receiver = MailReceiver(folder, is_encrypted=is_encrypted)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


def _make_tls(folder: Path) -> ssl.SSLContext:
    """Make a certificate of 127.0.0.1 that `authority.pem` in the folder has signed."""
    now = datetime.now(UTC)
    authority = certificate_authority.load(certificate_authority.create("test", now), where="test")
    issued = certificate_authority.issue(authority, "mail", ["127.0.0.1"], now)
    (folder / "authority.pem").write_text(authority.pem)
    chain = folder / "mail.pem"
    chain.write_text(issued.certificate + issued.key.reveal())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    return context

"""Sends one message to one receiver, and reports whether the receiver has it."""

from __future__ import annotations

import re
import smtplib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from airfleet_provider.contract.notification_policy import MailEncryption, Receiver, ReceiverType
from airfleet_provider.contract.text import hide, one_line
from airfleet_provider.network.retry_after import read_retry_after
from airfleet_provider.network.trust import trust
from airfleet_provider.notifications import formats
from airfleet_provider.notifications.messages import Message

# Seconds for a connection, and for each answer.
ANSWER_S = 10.0
# So much of an answer is read, and so much of it is for the log. A secret that the end cuts would not be found in it.
READ_BYTES = 1024
ANSWER_BYTES = 300
# A part of a URL that is shorter is a word, such as `alerts`.
SHORTEST_SECRET = 8
PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
# The receiver answers so if it cannot take a message now, and has not taken this one.
_BUSY = frozenset({429, 503})
# The receiver answers so to the content of a message.
_REFUSING = frozenset({400, 406, 413, 415, 422})


class DeliveryVerdict(StrEnum):
    """What is known of a message after an attempt to send it."""

    SENT = "sent"
    # The receiver has surely not taken it.
    UNSENT = "unsent"
    # The receiver has taken it or not: the connection ended before the answer.
    UNKNOWN = "unknown"
    # The receiver refuses its content, and would refuse it again.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """The verdict, and why. The receiver may say after how many seconds to try again."""

    verdict: DeliveryVerdict
    detail: str = ""
    retry_after_s: float = 0.0


def find_limit(receiver: Receiver) -> int:
    """Return how many notifications one message to a receiver carries at most."""
    match receiver.type:
        case ReceiverType.EMAIL:
            return formats.MOST_MAILED
        case ReceiverType.PAGERDUTY:
            return 1
        case ReceiverType.WEBHOOK:
            return formats.MOST_IN_WEBHOOK
        case _:
            return formats.MOST_POSTED


def send(message: Message, receiver: Receiver) -> DeliveryOutcome:
    """Send a message and return what is known then. Never raises for what a receiver or a network does."""
    try:
        outcome = _mail(message, receiver) if receiver.type is ReceiverType.EMAIL else _post(message, receiver)
    except (OSError, ValueError) as error:
        # A wrong name of a host, a certificate file that is not there, or an address that no mail can have.
        outcome = DeliveryOutcome(DeliveryVerdict.UNSENT, f"{type(error).__name__}: {error}")
    return DeliveryOutcome(outcome.verdict, _hide(outcome.detail, receiver), outcome.retry_after_s)


def _hide(detail: str, receiver: Receiver) -> str:
    """Return what may be logged and shown. Many servers repeat the path of a request in their answer to it."""
    rest = receiver.url.partition("://")[2].partition("/")[2]
    words = (word for word in re.split("[/?&=;]", rest) if len(word) >= SHORTEST_SECRET)
    return one_line(hide(detail, (receiver.secret, receiver.url, *words)), ANSWER_BYTES)


def _mail(message: Message, receiver: Receiver) -> DeliveryOutcome:
    """Send a mail. Until the mail server has asked for the text, a failure is surely one."""
    mail = formats.make_mail(message, receiver)
    is_asked = False
    try:
        with _open_mail_server(receiver) as server:
            server.mail(receiver.sender)
            refused = {}
            for address in receiver.to:
                code, answer = server.rcpt(address)
                if code >= 400:
                    refused[address] = (code, answer.decode("utf-8", "replace"))
            if refused and (len(refused) == len(receiver.to) or any(code < 500 for code, _ in refused.values())):
                return _judge_recipients(refused)
            is_asked = True
            code, answer = server.data(mail.as_bytes())
            if code >= 400:
                verdict = DeliveryVerdict.REFUSED if code >= 500 else DeliveryVerdict.UNSENT
                return DeliveryOutcome(verdict, f"{code} {answer.decode('utf-8', 'replace')}")
            note = "; ".join(f"{address}: {code} {text}" for address, (code, text) in refused.items())
            return DeliveryOutcome(DeliveryVerdict.SENT, note)
    except smtplib.SMTPDataError as error:  # the answer to DATA itself
        return DeliveryOutcome(DeliveryVerdict.UNSENT, str(error))
    except (smtplib.SMTPException, OSError) as error:
        verdict = DeliveryVerdict.UNKNOWN if is_asked else DeliveryVerdict.UNSENT
        return DeliveryOutcome(verdict, f"{type(error).__name__}: {error}")


class _MailServer(smtplib.SMTP):
    """A connection whose end does not turn a mail that was accepted into a failure."""

    def __exit__(self, *_: object) -> None:
        try:
            self.docmd("QUIT")
        except (smtplib.SMTPException, OSError):
            pass
        finally:
            self.close()


class _EncryptedMailServer(_MailServer, smtplib.SMTP_SSL):
    """The same with TLS from the first byte."""


def _open_mail_server(receiver: Receiver) -> _MailServer:
    if receiver.encryption is MailEncryption.TLS:
        server: _MailServer = _EncryptedMailServer(
            receiver.host, receiver.port, timeout=ANSWER_S, context=trust(receiver.authority)
        )
    else:
        server = _MailServer(receiver.host, receiver.port, timeout=ANSWER_S)
    try:
        if receiver.encryption is MailEncryption.STARTTLS:
            server.starttls(context=trust(receiver.authority))
        server.ehlo_or_helo_if_needed()
        if receiver.login:
            server.login(receiver.login, receiver.secret)
    except BaseException:
        server.close()
        raise
    return server


def _judge_recipients(refused: dict[str, tuple[int, str]]) -> DeliveryOutcome:
    """Return the outcome if no mail was sent: it is tried again, unless the server refuses everybody for good."""
    detail = "; ".join(f"{address}: {code} {text}" for address, (code, text) in refused.items())
    is_final = all(code >= 500 for code, _ in refused.values())
    return DeliveryOutcome(DeliveryVerdict.REFUSED if is_final else DeliveryVerdict.UNSENT, detail)


def _post(message: Message, receiver: Receiver) -> DeliveryOutcome:
    url, body, headers = _make_request(message, receiver)
    try:
        with (
            httpx.Client(timeout=ANSWER_S, verify=trust(receiver.authority), follow_redirects=False) as client,
            client.stream("POST", url, json=body, headers=headers) as answer,
        ):
            if answer.is_success:
                return DeliveryOutcome(DeliveryVerdict.SENT)
            text = next(answer.iter_bytes(READ_BYTES), b"").decode("utf-8", "replace")
            return _judge(answer.status_code, text, answer.headers.get("Retry-After", ""))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        return DeliveryOutcome(DeliveryVerdict.UNSENT, f"{type(error).__name__}: {error}")
    except httpx.HTTPError as error:
        return DeliveryOutcome(DeliveryVerdict.UNKNOWN, f"{type(error).__name__}: {error}")


def _make_request(message: Message, receiver: Receiver) -> tuple[str, dict[str, Any], dict[str, str]]:
    match receiver.type:
        case ReceiverType.SLACK:
            return receiver.url, formats.make_slack(message), {}
        case ReceiverType.TEAMS:
            return receiver.url, formats.make_teams(message), {}
        case ReceiverType.PAGERDUTY:
            return receiver.url or PAGERDUTY, formats.make_pagerduty(message, receiver), {}
        case _:
            headers = {"Idempotency-Key": formats.name_message(message, receiver)}
            if receiver.secret:
                headers["Authorization"] = f"Bearer {receiver.secret}"
            return receiver.url, formats.make_webhook(message), headers


def _judge(status: int, text: str, retry_after: str) -> DeliveryOutcome:
    detail = f"{status} {text}".strip()
    if status in _BUSY:
        return DeliveryOutcome(DeliveryVerdict.UNSENT, detail, read_retry_after(retry_after))
    if status in _REFUSING:
        return DeliveryOutcome(DeliveryVerdict.REFUSED, detail)
    # The server behind a gateway that answers 502 or 504, or one that fails with 500, may have done its work.
    return DeliveryOutcome(
        DeliveryVerdict.UNKNOWN if status == 408 or status >= 500 else DeliveryVerdict.UNSENT, detail
    )

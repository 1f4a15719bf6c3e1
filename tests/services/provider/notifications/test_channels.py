"""Sending to real servers, and what is known of a message when they misbehave."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import httpx
import pytest

from airfleet.runners.local import ports
from airfleet_provider.contract.notification_policy import MailEncryption, NotificationPolicy, Receiver, ReceiverType
from airfleet_provider.network import retry_after
from airfleet_provider.notifications import channels
from airfleet_provider.notifications.channels import DeliveryVerdict
from airfleet_provider.notifications.messages import compose
from invented_alerts import NOON, make_entry
from receivers import Answer, HttpReceiver, MailReceiver, mail_to, serve_mail

MESSAGE = compose(
    (make_entry(),), NotificationPolicy(), Receiver("team", ReceiverType.SLACK), now=0.0, is_repeated=False
)


def test_a_mail_goes_over_starttls_with_a_login(mail: MailReceiver) -> None:
    assert channels.send(MESSAGE, mail_to(mail)).verdict is DeliveryVerdict.SENT
    assert mail.mails[0]["Subject"].startswith("[firing] critical: DiskFull")
    assert mail.recipients == [("team@example.com",)]


def test_no_password_goes_to_a_mail_server_that_is_not_trusted(mail: MailReceiver) -> None:
    outcome = channels.send(MESSAGE, replace(mail_to(mail), authority=""))
    assert outcome.verdict is DeliveryVerdict.UNSENT
    assert "certificate" in outcome.detail
    assert not mail.mails


def test_a_wrong_password_is_no_reason_to_give_up(mail: MailReceiver) -> None:
    outcome = channels.send(MESSAGE, replace(mail_to(mail), secret="wr0ng"))
    assert outcome.verdict is DeliveryVerdict.UNSENT
    assert "wr0ng" not in outcome.detail


def test_a_mail_server_without_encryption_where_fleet_yaml_allows_it(tmp_path: Path) -> None:
    with serve_mail(tmp_path, is_encrypted=False) as server:
        plain = replace(mail_to(server), encryption=MailEncryption.NONE, login="", secret="")
        assert channels.send(MESSAGE, plain).verdict is DeliveryVerdict.SENT
        assert channels.send(MESSAGE, mail_to(server)).verdict is DeliveryVerdict.UNSENT


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [("451 try later", DeliveryVerdict.UNSENT), ("554 spam", DeliveryVerdict.REFUSED)],
    ids=["451", "554"],
)
def test_what_a_mail_server_answers_to_the_text(mail: MailReceiver, answer: str, verdict: DeliveryVerdict) -> None:
    mail.answers.append(answer)
    outcome = channels.send(MESSAGE, mail_to(mail))
    assert (outcome.verdict, outcome.detail) == (verdict, answer)


def test_one_address_that_is_gone_does_not_keep_the_mail_from_the_others(mail: MailReceiver) -> None:
    mail.refused.add("gone@example.com")
    outcome = channels.send(MESSAGE, mail_to(mail, "gone@example.com", "team@example.com"))
    assert outcome.verdict is DeliveryVerdict.SENT
    assert "gone@example.com: 550" in outcome.detail
    assert mail.recipients == [("team@example.com",)]
    assert channels.send(MESSAGE, mail_to(mail, "gone@example.com")).verdict is DeliveryVerdict.REFUSED


def test_a_mail_server_that_is_gone(mail: MailReceiver) -> None:
    mail.stop()
    assert channels.send(MESSAGE, mail_to(mail)).verdict is DeliveryVerdict.UNSENT


def test_a_mail_server_that_ends_while_it_reads_the_text_may_have_the_mail() -> None:
    """It has asked for the text, and then nothing comes back any more."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            stream.write(b"220 mail\r\n")
            stream.flush()
            for line in stream:
                if line.startswith(b"DATA"):
                    stream.write(b"354 go on\r\n")
                elif line == b".\r\n":
                    return
                elif line.isupper() or line[:4] in (b"ehlo", b"mail", b"rcpt"):
                    stream.write(b"250 OK\r\n")
                stream.flush()

    threading.Thread(target=serve, daemon=True).start()
    receiver = Receiver(
        "team",
        ReceiverType.EMAIL,
        to=("team@example.com",),
        sender="airfleet@example.com",
        host="127.0.0.1",
        port=listener.getsockname()[1],
        encryption=MailEncryption.NONE,
    )
    with listener:
        assert channels.send(MESSAGE, receiver).verdict is DeliveryVerdict.UNKNOWN


@pytest.mark.parametrize("kind", [ReceiverType.SLACK, ReceiverType.TEAMS, ReceiverType.PAGERDUTY, ReceiverType.WEBHOOK])
def test_each_kind_of_http_receiver_takes_it(http: HttpReceiver, kind: ReceiverType) -> None:
    receiver = Receiver("one", kind, url=f"{http.url}/hook", secret="t0ken")
    assert channels.send(MESSAGE, receiver).verdict is DeliveryVerdict.SENT
    (request,) = http.requests
    assert request.path == "/hook"
    assert ("Authorization" in request.headers) is (kind is ReceiverType.WEBHOOK)
    assert ("Idempotency-Key" in request.headers) is (kind is ReceiverType.WEBHOOK)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, DeliveryVerdict.REFUSED),
        (401, DeliveryVerdict.UNSENT),
        (404, DeliveryVerdict.UNSENT),
        (302, DeliveryVerdict.UNSENT),
        (429, DeliveryVerdict.UNSENT),
        (503, DeliveryVerdict.UNSENT),
        (500, DeliveryVerdict.UNKNOWN),
        (504, DeliveryVerdict.UNKNOWN),
    ],
)
def test_what_an_http_receiver_answers(http: HttpReceiver, status: int, verdict: DeliveryVerdict) -> None:
    http.answers.append(Answer(status, {"Retry-After": "7", "Location": f"{http.url}/elsewhere"}))
    outcome = channels.send(MESSAGE, Receiver("one", ReceiverType.SLACK, url=http.url))
    assert outcome.verdict is verdict
    assert outcome.retry_after_s == (7.0 if status in (429, 503) else 0.0)
    assert len(http.requests) == 1


def test_a_receiver_that_ends_the_connection_without_an_answer_may_have_it(http: HttpReceiver) -> None:
    http.answers.append(Answer(is_silent=True))
    assert channels.send(MESSAGE, Receiver("one", ReceiverType.SLACK, url=http.url)).verdict is DeliveryVerdict.UNKNOWN


def test_a_receiver_that_is_slow_may_have_it(http: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        assert channels.send(MESSAGE, Receiver("one", ReceiverType.SLACK, url=url)).verdict is DeliveryVerdict.UNKNOWN


def test_no_error_shows_the_address_of_a_webhook() -> None:
    url = f"http://127.0.0.1:{ports.find_free()}/services/S3CRET"
    outcome = channels.send(MESSAGE, Receiver("one", ReceiverType.SLACK, url=url))
    assert outcome.verdict is DeliveryVerdict.UNSENT
    assert "S3CRET" not in outcome.detail
    assert "S3CRET" not in channels.send(MESSAGE, Receiver("one", ReceiverType.SLACK, url="S3CRET")).detail


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://hooks.slack.com/services/T00000000/B11111111/S3CRETS3CRET", "Cannot POST {path}"),
        ("https://example.com/flows?api-version=1&sig=S3CRETS3CRET", "<pre>no flow {path}</pre>"),
        ("https://example.com/flows?api-version=1&sig=S3CRETS3CRET", "<pre>sig=S3CRETS3CRET&amp;api-version=1</pre>"),
        (f"https://example.com/{'S3CRET' * 8}", f"{' ' * (channels.ANSWER_BYTES - 30)}{{path}}"),
    ],
)
def test_no_error_shows_the_path_that_a_receiver_repeats(monkeypatch: pytest.MonkeyPatch, url: str, said: str) -> None:
    body = said.format(path=url.partition("//")[2].partition("/")[2]).encode()
    transport = httpx.MockTransport(lambda request: httpx.Response(404, content=body))
    monkeypatch.setattr(httpx, "Client", partial(httpx.Client, transport=transport))
    outcome = channels.send(MESSAGE, Receiver("one", ReceiverType.SLACK, url=url))
    assert outcome.detail.startswith("404")
    assert "S3CRET" not in outcome.detail


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12.0),
        ("-3", 0.0),
        ("99999", retry_after.LONGEST_RETRY_AFTER_S),
        ("nan", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        (format_datetime(NOON.astimezone(UTC).replace(second=30), usegmt=True), 30.0),
    ],
)
def test_how_long_a_receiver_wants_to_rest(text: str, seconds: float) -> None:
    assert retry_after.read_retry_after(text, datetime(2026, 11, 24, 12, 0, tzinfo=UTC)) == seconds

"""Takes one notice to one target: a webhook over HTTP, signed, or mail over SMTP.

Both raise `Undelivered`, which says whether another try may help.
"""

import asyncio
import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from importlib import import_module

from simrack.controller.alarms.plan import Notice
from simrack.controller.alarms.rules import Mail
from simrack.wire.ports import iso_ms

#: A receiver that needs longer is not there; the notice is tried again.
WEBHOOK_WITHIN_S = 10.0
#: Mail servers look senders up before they answer.
MAIL_WITHIN_S = 20.0
#: Answers of HTTP that mean "not now"; other 4xx mean "never like this".
_LATER = frozenset({408, 425, 429})
_PORTS = {"none": 25, "starttls": 587, "tls": 465}
SUBJECT_MOST = 160


class Undelivered(Exception):
    """A notice did not arrive; `final`: trying again would not help."""

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


@dataclass(frozen=True, slots=True)
class Secrets:
    """What proves to others that a notice is ours; from the process's own settings, never from the database."""

    webhook: str = ""
    smtp_password: str = ""


def body_of(notice: Notice, ident: str) -> bytes:
    """The webhook's JSON."""
    news = notice.news
    alarm = {
        "cause": news.cause, "kind": news.kind, "severity": news.severity, "title": news.title, "advice": news.advice,
        "changed": iso_ms(news.at),
    }  # fmt: skip
    return json.dumps({"id": ident, "event": notice.event, "at": iso_ms(notice.at), "alarm": alarm}, ensure_ascii=False).encode()


def signature(secret: str, at: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256 over "SECONDS." and the body, so that an old notice can't be played again."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def headers_of(notice: Notice, ident: str, body: bytes, secret: str) -> Mapping[str, str]:
    """What goes with the body; without a secret there is no signature."""
    headers = {
        "Content-Type": "application/json", "User-Agent": "simrack", "X-Simrack-Event": notice.event,
        "X-Simrack-Delivery": ident,
    }  # fmt: skip
    if secret:
        headers["X-Simrack-Signature"] = signature(secret, int(notice.at.timestamp()), body)
    return headers


async def send_webhook(notice: Notice, ident: str, secret: str, within_s: float = WEBHOOK_WITHIN_S) -> None:
    """POST it; 2xx is delivered. Raises `Undelivered`."""
    # Half a second of imports, which an installation without a webhook is spared.
    http = await asyncio.to_thread(import_module, "aiohttp")
    body = body_of(notice, ident)
    headers = headers_of(notice, ident, body, secret)
    timeout = http.ClientTimeout(total=within_s)
    try:
        async with (
            http.ClientSession(timeout=timeout) as session,
            session.post(notice.target.addresses[0], data=body, headers=headers, allow_redirects=False) as answer,
        ):
            status = int(answer.status)
    except TimeoutError:
        raise Undelivered(f"no answer within {within_s:g} s") from None
    except ValueError as error:
        # aiohttp's own word for an address that is none.
        raise Undelivered(f"the address can't be used: {error}", final=True) from error
    except (http.ClientError, OSError) as error:
        raise Undelivered(str(error) or type(error).__name__) from error
    if not 200 <= status < 300:
        raise Undelivered(f"the receiver answered {status}", final=status < 500 and status not in _LATER)


def mail_of(notice: Notice, mail: Mail, ident: str) -> EmailMessage:
    """The message as it goes out."""
    news, message = notice.news, EmailMessage()
    title = " ".join(news.title.split())
    message["Subject"] = f"[simrack] {notice.event}, {news.severity}: {title}"[:SUBJECT_MOST]
    message["From"] = mail.sender
    message["To"] = ", ".join(notice.target.addresses)
    message["Date"] = format_datetime(notice.at)
    message["Message-ID"] = f"<{ident}@simrack.invalid>"
    # Out-of-office answers to a machine help nobody (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        f"{news.title}\n\nWhat to do: {news.advice or 'look at the Alarms page.'}\n\n"
        f"Severity: {news.severity}\nEvent: {notice.event}\nSince: {iso_ms(news.at)}\nCause: {news.cause}\n"
    )
    return message


async def send_mail(notice: Notice, ident: str, mail: Mail, password: str, within_s: float = MAIL_WITHIN_S) -> None:
    """Hand it to the mail server. Raises `Undelivered`."""
    if not mail.server or not mail.sender:
        raise Undelivered("no mail server or no sender's address is set", final=True)
    message = mail_of(notice, mail, ident)
    await asyncio.to_thread(_submit, message, mail, password, within_s)


def _submit(message: EmailMessage, mail: Mail, password: str, within_s: float) -> None:
    """smtplib blocks, so this runs in a thread."""
    host, _, port = mail.server.rpartition(":") if ":" in mail.server else (mail.server, "", str(_PORTS[mail.security]))
    try:
        with _connection(host, int(port), mail, within_s) as server:
            if mail.user:
                server.login(mail.user, password)
            refused = server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        raise Undelivered(f"all recipients were refused: {_first(error)}", final=True) from error
    except smtplib.SMTPResponseException as error:
        words = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else str(error.smtp_error)
        raise Undelivered(f"the mail server answered {error.smtp_code} {words}", final=error.smtp_code >= 500) from error
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise Undelivered(f"the mail server can't be used: {error or type(error).__name__}") from error
    if refused:
        raise Undelivered(f"not to {', '.join(sorted(refused))}, who were refused", final=True)


def _first(error: smtplib.SMTPRecipientsRefused) -> str:
    code, words = next(iter(error.recipients.values()))
    return f"{code} {words.decode(errors='replace')}"


def _connection(host: str, port: int, mail: Mail, within_s: float) -> smtplib.SMTP:
    if mail.security == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=within_s, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port, timeout=within_s)
    if mail.security == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server

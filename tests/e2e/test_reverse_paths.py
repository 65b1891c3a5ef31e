"""What passes for a reverse-path costs no protocol error at real servers: each of the tables of the unit tests as MAIL FROM."""

import re
import smtplib
from pathlib import Path

from tests.harness.exim import Exim
from tests.harness.need import missing
from tests.harness.postfix import Postfix

DATA = Path(__file__).parents[1] / "data"
BYTES = {b"r": b"\r", b"n": b"\n", b"t": b"\t"}


def unescape(text):
    text = re.sub(rb"(.)\\\*(\d+);", lambda m: m[1] * int(m[2]), text)
    return re.sub(
        rb"\\(x([0-9a-f]{2})|.)", lambda m: bytes.fromhex(m[2].decode()) if m[2] else BYTES.get(m[1], m[1]), text
    )


def paths():
    rows = (DATA / "reverse-path.txt").read_bytes().splitlines()
    found = {unescape(row.split(b" ", 2)[2]) for row in rows if row.startswith(b"= ")}
    rows = (DATA / "addresses.txt").read_bytes().splitlines()
    return sorted(found - {b"<>"} | {unescape(row[3:]) for row in rows if row.startswith(b"ok ")})


def ask(port, batch):
    """The replies in one session; it may end before its time, as some servers hang up behind errors."""
    replies = []
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.ehlo("client.corp.example")
        for path in batch:
            option = b"" if path.isascii() else b" SMTPUTF8"
            client.send(b"MAIL FROM:<" + path + b">" + option + b"\r\n")
            replies.append(client.getreply())
            if replies[-1][0] != 250:
                break
            client.rset()
    return replies


def refused(server, utf8):
    """Replies other than 250, by path; a few in each session, as many are no mail to a server but junk."""
    left = [path for path in paths() if utf8 or path.isascii()]
    replies = {}
    while left:
        batch = left[:5]
        got = dict(zip(batch, ask(server.port, batch), strict=False))
        replies |= {path: reply for path, reply in got.items() if reply[0] != 250}
        left = left[len(got) :]
    return replies


def test_postfix(place):
    with Postfix(place / "paths", extra="smtputf8_enable = yes") as server:
        assert not refused(server, utf8=True)


def test_exim(place, authority):
    if reason := Exim.why_not():
        missing(reason)
    with Exim(place / "exim", authority) as server:
        replies = refused(server, utf8=False)
    literals = {path for path, reply in replies.items() if reply == (501, b"<" + path + b">: domain literals not allowed")}
    assert len(literals) > 5 and literals == set(replies)  # that is its configuration

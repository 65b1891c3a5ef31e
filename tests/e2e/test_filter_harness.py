"""The content filters that other tests measure with, each spoken to directly."""

import base64
import socket
import time

import pytest

from tests.harness.clamd import Clamd, instream
from tests.harness.filter import EICAR, GTUBE, exchange
from tests.harness.rspamd import Rspamd
from tests.harness.spamd import Spamd, request

TOLD = [
    ("IP", "192.0.2.7"),
    ("Helo", "client.origin.example"),
    ("From", "<a@origin.example>"),
    ("Rcpt", "<b@corp.example>"),
    ("Rcpt", "<c@corp.example>"),
]


def mail(subject, body=b"Nothing to see.\r\n"):
    head = f"From: a@origin.example\r\nTo: b@corp.example\r\nSubject: {subject}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("make", [Rspamd, Clamd, Spamd])
def test_hangs_and_goes_on(filters, make):
    """Connections are made while it hangs, and what they asked is answered afterwards."""
    server = filters(make)
    server.hang()
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
            ask = {Rspamd: b"GET /ping HTTP/1.0\r\n\r\n", Clamd: b"zPING\0"}
            sock.sendall(ask.get(make, request("PING")))
            sock.settimeout(1)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            server.go_on()
            sock.settimeout(30)
            assert sock.recv(1)
    finally:
        server.go_on()
    assert server.answers()


@pytest.mark.parametrize("make", [Rspamd, Clamd, Spamd])
def test_stops_and_starts_on_the_same_port(filters, make, figure):
    server = filters(make)
    server.hang()
    server.stop()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)
    began = time.monotonic()
    assert server.start().answers()
    figure(f"{make.__name__} answers after {time.monotonic() - began:.2f} s")


# Rspamd


def test_rspamd_rejects_gtube(rspamd):
    found = rspamd.check(mail("hello", GTUBE + b"\r\n"))
    assert (found["action"], list(found["symbols"])) == ("reject", ["GTUBE"])
    assert found["messages"] == {"smtp_message": "Gtube pattern"}


@pytest.mark.parametrize(
    "word, action",
    [
        ("hello", "no action"),
        ("greylist", "greylist"),
        ("add-header", "add header"),
        ("rewrite-subject", "rewrite subject"),
        ("reject", "reject"),
        ("soft-reject", "soft reject"),
        ("discard", "discard"),
        ("quarantine", "quarantine"),
    ],
)
def test_rspamd_acts_by_the_word(rspamd, word, action):
    found = rspamd.check(mail(f"this says {word}"))
    assert found["action"] == action
    assert found.get("subject") == ("*** this says " + word if "rewrite" in word else None)
    forced = word in ("soft-reject", "discard", "quarantine")
    assert found["messages"] == ({"smtp_message": f"told to {action}"} if forced else {})
    assert word == "hello" or word.upper().replace("-", "_") in found["symbols"]


def test_rspamd_asks_for_headers(rspamd):
    assert "milter" not in rspamd.check(mail("hello"))
    assert rspamd.check(mail("milter-headers add-header"))["milter"] == {
        "add_headers": {
            "X-Plain": "plain",
            "X-First": {"value": "first", "order": 1},
            "X-Twice": [{"value": "one", "order": 0}, {"value": "two", "order": -1}],
            "X-Folded": {"value": "one,\n\ttwo,\n\tthree", "order": -1},
        },
        "remove_headers": {"X-Spam": 0, "X-Second": 2, "X-Some": [1, 3]},
    }


def test_rspamd_tells_what_it_was_told(rspamd):
    def told(headers):
        return rspamd.check(mail("hello"), headers)["symbols"]["TOLD"].get("options", [])

    assert told([]) == []
    assert told(TOLD) == [
        "ip=192.0.2.7",
        "helo=client.origin.example",
        "from=a@origin.example",
        "rcpt=b@corp.example",
        "rcpt=c@corp.example",
    ]
    assert told([("From", "<>"), ("IP", "2001:db8::1")]) == ["ip=2001:db8::1", "from="]
    assert told([("From", "<two@@ats>"), ("IP", "nowhere")]) == [], "what it can't read, it drops"


def test_rspamd_refuses_what_it_does_not_know(rspamd):
    assert rspamd.ask("POST", "/nosuch", b"x")[0] == 500


def test_rspamd_hangs_up_without_a_word(filters):
    """On a message that is too long, and on what is no HTTP."""
    rspamd = filters(Rspamd, max_message=100_000)
    post = b"POST /checkv2 HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
    assert exchange(rspamd.port, post % 100_000 + bytes(100_000)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert exchange(rspamd.port, post % 100_001 + bytes(100_001)) == b""
    assert exchange(rspamd.port, b"hello\r\n\r\n") == b""


# clamd


@pytest.mark.parametrize("by", ["socket", "port"])
def test_clamd_finds_eicar(clamd, by):
    address = getattr(clamd, by)
    encoded = mail("hello", base64.encodebytes(EICAR)).replace(
        b"\r\n\r\n", b"\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1
    )
    for raw in (mail("hello", EICAR), encoded):
        assert clamd.scan(raw, address) == "stream: Eicar-Test-Text.UNOFFICIAL FOUND"
    for raw in (mail("hello"), b"", mail("hello", GTUBE)):
        assert clamd.scan(raw, address) == "stream: OK"


def test_clamd_takes_pieces_of_any_size(clamd):
    assert clamd.scan(mail("hello", EICAR), piece=1).endswith(" FOUND")
    assert exchange(clamd.port, instream(b"x", command=b"nINSTREAM\n")) == b"stream: OK\n"


def test_clamd_has_a_limit(filters):
    clamd = filters(Clamd, stream_max=100_000)
    assert clamd.scan(bytes(100_000)) == "stream: OK"
    for address in (clamd.socket, clamd.port):
        # it is still being written to when it says so
        assert clamd.scan(bytes(5_000_000), address) == "INSTREAM size limit exceeded. ERROR"


def test_clamd_loses_patience(filters):
    clamd = filters(Clamd, patience=1)
    half = instream(mail("hello"))[:-4]
    assert exchange(clamd.port, half) == b"COMMAND READ TIMED OUT\n"
    assert exchange(clamd.port, b"zHELLO\0") == b"UNKNOWN COMMAND\0"


# spamd


@pytest.mark.parametrize("by", ["socket", "port"])
def test_spamd_scores(spamd, by):
    def symbols(raw):
        first, headers, body = spamd.ask("SYMBOLS", raw, address=getattr(spamd, by))
        assert first == "SPAMD/1.1 0 EX_OK"
        return headers["Spam"], body.decode()

    assert symbols(mail("hello", GTUBE + b"\r\n")) == ("True ; 1000.0 / 5.0", "GTUBE")
    assert symbols(mail("hello")) == ("False ; 0.0 / 5.0", "")
    assert symbols(mail("spam-some ham")) == ("False ; 1.0 / 5.0", "HAM,SPAM_SOME")
    assert symbols(mail("spam-much")) == ("True ; 6.0 / 5.0", "SPAM_MUCH")
    assert symbols(mail("no line end", b"hello")) == ("False ; 0.0 / 5.0", "")


def test_spamd_checks_and_reports(spamd):
    raw = mail("hello", GTUBE + b"\r\n")
    spam = {"Spam": "True ; 1000.0 / 5.0"}
    assert spamd.ask("CHECK", raw) == ("SPAMD/1.1 0 EX_OK", spam, b"")
    first, headers, report = spamd.ask("REPORT", raw)
    assert headers == spam | {"Content-length": str(len(report))}
    assert b"1000 GTUBE                  BODY: Generic Test for Unsolicited Bulk Email" in report


def test_spamd_waits_for_the_end_of_a_last_line(spamd):
    with pytest.raises(TimeoutError):
        exchange(spamd.port, request("CHECK", mail("no line end", b"hello")), deadline=2)


def test_spamd_refuses(spamd):
    assert spamd.ask("HELLO")[0] == "SPAMD/1.0 76 Bad header line: HELLO SPAMC/1.5"
    short = request("CHECK", mail("hello")).replace(b"length: ", b"length: 1")
    assert exchange(spamd.port, short, ended=True).startswith(b"SPAMD/1.0 76 Bad header line: (")


def test_spamd_reads_debians_rules(filters):
    spamd = filters(Spamd, whole=True)
    first, headers, symbols = spamd.ask("SYMBOLS", mail("hello", GTUBE + b"\r\n"))
    assert headers["Spam"].startswith("True ; 100")
    assert {b"GTUBE", b"NO_RECEIVED"} <= set(symbols.split(b","))
    assert spamd.ask("SYMBOLS", mail("hello"))[1]["Spam"].startswith("False ; ")

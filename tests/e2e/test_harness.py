"""The rulers that the other tests measure with: what the servers alone do to a message."""

import re
import smtplib

import pytest

from tests.harness import process
from tests.harness.mail import as_delivered, corpus, normalised, odd_shapes
from tests.harness.popferry import parse_event
from tests.harness.process import wait_for
from tests.harness.scripted import ScriptedSmtp
from tests.harness.sink import Sink

MESSAGES = [raw for _, raw in corpus() + odd_shapes()]

ODD_HEADERS = [
    b"From x\na: b\n\nq",
    b">From x\na: b\n\nq",
    b" leading\na: b\n\nx",
    b"a : b\nc\t: d\n\nx\n",
    b"a b: c\n\n",
    b": c\n\nx\n",
    b"\x80\xff: c\n\nx\n",
    b"a: b\n \n c\n\nx",
    b"a: " + b"z" * 150000 + b"\n\nx\n",
    b"Return-Path: <q>\nBcc: w\nReceived: x\nDelivered-To: y\nResent-From: z\n\nx",
]


def submit(port, messages, recipient):
    """Send normalised messages over one connection, past smtplib's own ideas of line ends."""
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        smtp.ehlo("test")
        for raw in messages:
            assert smtp.mail("a@origin.example")[0] == smtp.rcpt(recipient)[0] == 250
            assert smtp.docmd("DATA")[0] == 354
            smtp.send(re.sub(rb"(?m)^\.", b"..", normalised(raw)) + b".\r\n")
            assert smtp.getreply()[0] == 250


def test_a_port_is_given_out_once(monkeypatch):
    """Although nobody listens on it yet: two Postfixes would share the connections to it."""
    port = process.free_port()
    draws = iter([port, *range(10_000, 30_000)])
    monkeypatch.setattr(process.random, "randrange", lambda *_: next(draws))
    assert process.free_port() != port


def test_dovecot_serves_what_was_dropped(pop3):
    user = pop3.add_user("harness")
    served = [pop3.drop(user, raw) for raw in MESSAGES]
    assert pop3.read(user) == served


def test_postfix_delivers_as_told(smtp):
    messages = MESSAGES + ODD_HEADERS
    submit(smtp.port, messages, "harness@corp.example")
    smtp.settle()
    assert sorted(smtp.messages("harness")) == sorted(map(as_delivered, messages))


def test_postfix_log_tells_of_protocol_errors(smtp):
    assert smtp.protocol_errors() == []
    with smtplib.SMTP("127.0.0.1", smtp.port) as client:
        client.docmd("FROBNICATE")
    wait_for(smtp.protocol_errors, what="the log to tell")


def test_sink_keeps_what_it_is_sent(place):
    with Sink(place / "sink") as sink:
        submit(sink.port, MESSAGES, "x@corp.example")
        got = sorted(dump.message for dump in sink.dumps())
        assert got == sorted(normalised(raw).replace(b"\r", b"") for raw in MESSAGES)
        sink.refuse_from_now_on()
        with pytest.raises(AssertionError):
            submit(sink.port, MESSAGES[:1], "x@corp.example")
        assert len(sink.dumps()) == len(MESSAGES)


def test_scripted_smtp_keeps_what_it_is_sent():
    with ScriptedSmtp() as server:
        submit(server.port, MESSAGES, "x@corp.example")
        assert [raw for _, _, raw in server.accepted] == [normalised(raw) for raw in MESSAGES]


def test_events_are_parsed():
    line = (
        '2026-11-23T10:00:00Z relayd: warning deferred id=01JD reply="451 4.3.0 not \\"now\\"" n=3'
    )
    assert parse_event(line) == {
        "level": "warning",
        "what": "deferred",
        "id": "01JD",
        "reply": '451 4.3.0 not "now"',
        "n": "3",
    }
    assert parse_event("something else altogether") is None

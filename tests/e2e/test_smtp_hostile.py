"""SMTP servers that misbehave: every message arrives, or lies in badmail with the server's words.

    replies endless, mixed, malformed, code < 200   ONCE
    greeting 421, 521, 554; 421 anywhere            ONCE
    no answer behind the message                    test_in_doubt
    a reply that came before its command            ONCE["answers nobody asked for"]
    refusals of message and recipient               test_refusals, test_too_many_recipients
    a spool file that was cut or altered            test_damaged_spool_file
    LMTP: each recipient for itself                 test_lmtp
    clear bytes behind STARTTLS, odd AUTH           test_relay_login.py, tests/data/smtp
"""

import re

import pytest

from tests.harness.mail import normalised, simple
from tests.harness.process import wait_for
from tests.harness.scripted import CLOSE, RESET, USUAL, Endless, ScriptedPop3, ScriptedSmtp, times

MESSAGES = [normalised(simple(f"number {n}", body=f"{n}\n.\n..{n}\n" * 50)) for n in range(1, 4)]
FAST = {"retry_min": "1s", "retry_max": "1s", "sessions": 1}
CHUNKED = ("PIPELINING", "8BITMIME", "SIZE 52428800", "CHUNKING")

ODD = {
    "endless lines": Endless(b"250-more\r\n", 1 << 24),
    "an endless line": Endless(b"2" * 8192, 1 << 24),
    "codes mixed": b"250-yes\r\n550 no\r\n",
    "code below 200": b"150 wait\r\n",
    "code above 599": b"650 what\r\n",
    "not SMTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "NULs": b"\0\0\0\0\r\n",
    "421": [b"421 4.3.2 going down\r\n", CLOSE],
    "closed": CLOSE,
    "reset": RESET,
}
WHERE = {
    "greeting": "GREETING",
    "EHLO": "EHLO *",
    "MAIL": "MAIL *",
    "RCPT": "RCPT *",
    "DATA": "DATA",
    "the message": ".",
}
ONCE = {f"{odd} to {at}": {WHERE[at]: reply} for odd, reply in ODD.items() for at in WHERE}
ONCE |= {
    "greeting 521": {"GREETING": [b"521 no mail here\r\n", CLOSE]},
    "greeting 554": {"GREETING": [b"554 not you\r\n", CLOSE]},
    "answers nobody asked for": {"EHLO *": [USUAL, b"250 ok\r\n250 ok\r\n250 ok\r\n"]},
    "421 behind the message": {".": [b"421 4.3.2 going down\r\n", CLOSE]},
    "451 behind the message": {".": b"451 4.3.0 later\r\n"},
    "452 to MAIL": {"MAIL *": b"452 4.3.1 disk full\r\n"},
}


def start(make_ferry, smtp, server, deliver_to="acc@corp.example", relay=None):
    fetch = {"received_by": "mx.isp.example pop.isp.example"}
    ferry = make_ferry(smtp.port, fetch=fetch, relay=FAST | (relay or {}))
    ferry.add_account("acc", server.port, "user", "secret", deliver_to)
    ferry.ctl("fetch", "acc")
    return ferry


def settled(ferry):
    wait_for(
        lambda: ferry.account("acc")["fetched"] and ferry.in_flight() == 0, 40, "all to be settled"
    )


def received(smtp):
    return sorted(message for _, _, message in smtp.accepted)


@pytest.mark.parametrize("what", ONCE)
def test_once(make_ferry, what):
    (at, reply), = ONCE[what].items()
    with ScriptedSmtp({at: times(1, reply)}) as smtp, ScriptedPop3(MESSAGES) as server:
        ferry = start(make_ferry, smtp, server)
        settled(ferry)
        assert received(smtp) == sorted(MESSAGES)
        assert not ferry.badmail()


@pytest.mark.parametrize("extensions", [("PIPELINING",), CHUNKED], ids=["DATA", "BDAT"])
@pytest.mark.parametrize("how", [CLOSE, RESET])
def test_in_doubt(make_ferry, extensions, how):
    with ScriptedSmtp({".": times(1, how)}, extensions) as smtp, ScriptedPop3(MESSAGES) as server:
        ferry = start(make_ferry, smtp, server)
        settled(ferry)
        assert received(smtp) == sorted(MESSAGES)
        assert len(ferry.events("relayd", "possible-duplicate")) == 1


REFUSED = {
    "MAIL, too large": ("MAIL *", b"552 5.3.4 Message too big for us\r\n"),
    "MAIL, and closed": ("MAIL *", [b"550 5.7.1 go away\r\n", CLOSE]),
    "recipient": ("RCPT *", b"550 5.1.1 unknown\r\n"),
    "message": (".", b"554-5.7.1 spam\r\n554 5.7.1 indeed\r\n"),
}


@pytest.mark.parametrize("extensions", [("PIPELINING",), CHUNKED, ()], ids=["DATA", "BDAT", "bare"])
@pytest.mark.parametrize("what", REFUSED)
def test_refusals(make_ferry, what, extensions):
    at, reply = REFUSED[what]
    words = (reply[0] if isinstance(reply, list) else reply).split(b"\r\n")[0].decode()[4:]
    with ScriptedSmtp({at: times(1, reply)}, extensions) as smtp, ScriptedPop3(MESSAGES) as server:
        ferry = start(make_ferry, smtp, server)
        row, = ferry.wait_badmail(1)
        assert words in row["reason"]
        settled(ferry)
        assert len(received(smtp)) == 2


def test_too_many_recipients(make_ferry):
    """The rest go in the next transaction, at once: an hour is no obstacle."""
    many = [f"r{n}@corp.example" for n in range(6)]
    script = {f"RCPT TO:<R{n}@*": times(1, b"452 4.5.3 too many\r\n") for n in (3, 4, 5)}
    with ScriptedSmtp(script) as smtp, ScriptedPop3(MESSAGES[:1]) as server:
        hour = {"retry_min": "1h", "retry_max": "1h"}
        ferry = start(make_ferry, smtp, server, ",".join(many), hour)
        settled(ferry)
        assert sorted(to for _, tos, _ in smtp.accepted for to in tos) == many


def test_lmtp(make_ferry):
    """Delivered to one, put off for one, refused for one."""
    script = {
        ". B@*": times(1, b"452 4.2.2 full\r\n"),
        ". C@*": b"550 5.7.1 not for me\r\n",
    }
    with ScriptedSmtp(script, CHUNKED) as smtp, ScriptedPop3(MESSAGES[:1]) as server:
        to = "a@corp.example,b@corp.example,c@corp.example"
        ferry = start(make_ferry, smtp, server, to, {"protocol": "lmtp"})
        row, = ferry.wait_badmail(1)
        assert row["recipients"] == ["c@corp.example"] and "not for me" in row["reason"]
        assert sorted(tos[0][0] for _, tos, _ in smtp.accepted) == ["a", "b"]
        assert {message for *_, message in smtp.accepted} == set(MESSAGES[:1])


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_damaged_spool_file(make_ferry, damage):
    with ScriptedSmtp({"GREETING": b"421 not yet\r\n"}) as smtp:
        with ScriptedPop3(MESSAGES[:1]) as server:
            ferry = start(make_ferry, smtp, server)
            wait_for(lambda: ferry.files("outgoing"), what="the message to wait for delivery")
            path, = ferry.files("outgoing")
            raw = path.read_bytes()
            path.write_bytes(raw[:-9] if damage == "cut" else raw[:-3] + b"x\r\n")
            smtp.script.clear()
            row, = ferry.wait_badmail(1)
            assert re.search("size|hash|damaged|shorter|octets|bytes", row["reason"])
            assert ferry.events("relayd", "spool-file-damaged")
            settled(ferry)
            assert {message for *_, message in smtp.accepted} <= {MESSAGES[0]}  # fetched again


CLIENT = b"Received: from h.example (n.example [192.0.2.7])\n\tby mx.isp.example with ESMTP id 1; x\n"


def test_xclient(make_ferry):
    """A message that tells no client goes on a session of its own."""
    mail = [normalised(CLIENT + MESSAGES[0]), MESSAGES[1]]
    extensions = ("PIPELINING", "XCLIENT NAME ADDR PROTO HELO")
    relay = {"client": "xclient"}
    with ScriptedSmtp({}, extensions) as smtp, ScriptedPop3(mail) as server:
        ferry = start(make_ferry, smtp, server, relay=relay)
        settled(ferry)
        assert received(smtp) == sorted(mail)
        said, = smtp.heard("XCLIENT *")
        assert said == "XCLIENT ADDR=192.0.2.7 PROTO=ESMTP NAME=n.example HELO=h.example"
        for talk in smtp.conversations:
            behind = talk.lines[talk.lines.index(said) :] if said in talk.lines else []
            assert len([line for line in behind if line.startswith("MAIL")]) <= 1


@pytest.mark.parametrize("client", ["xclient", "xforward"])
def test_client_that_cannot_be_told(make_ferry, client):
    """The mail goes on, and it is said once what the server lacks."""
    relay = {"client": client, "sessions": 3}
    with ScriptedSmtp() as smtp, ScriptedPop3([normalised(CLIENT + m) for m in MESSAGES]) as server:
        ferry = start(make_ferry, smtp, server, relay=relay)
        settled(ferry)
        assert len(smtp.accepted) == 3
        event, = ferry.events("relayd", "relay-client-not-told")
        assert f"smtpd_authorized_{client}_hosts" in event["error"]
        assert any(client.upper() in text for text in ferry.ctl_json("relay", "test")["warnings"])

"""What is said of one recipient, or of the message for one, keeps no other from getting it; and what is
said of a command out of its place, or of one that a server does not know, is no refusal."""

import pytest

from tests.e2e.test_name_taken import another, put
from tests.e2e.test_relay_progress import HOUR, SECOND, drop, queued
from tests.harness.mail import normalised, simple
from tests.harness.process import wait_for
from tests.harness.scripted import CLOSE, ScriptedSmtp, times

BAD, GOOD = "bad@corp.example", "good@corp.example"


class OneAtATime(ScriptedSmtp):
    """One recipient a transaction; what is for BAD is answered by `last` behind the dot."""

    last = b"451 4.7.1 try later\r\n"

    def do_rcpt(self, talk, line):
        if talk.recipients:
            talk.send(b"452 4.5.3 one recipient at a time\r\n")
        else:
            super().do_rcpt(talk, line)

    def _finish(self, talk, message):
        if BAD in talk.recipients:
            talk.send(self.last)
        else:
            super()._finish(talk, message)


def got(smtp):
    return [recipients for _, recipients, _ in smtp.accepted]


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_one_at_a_time(make_ferry, protocol):
    """The message for the first is put off: the second gets it at once, and once."""
    with OneAtATime() as smtp:
        ferry = make_ferry(smtp.port, relay=HOUR | {"protocol": protocol})
        drop(ferry, "m", to=[BAD, GOOD])
        wait_for(lambda: smtp.accepted, what="the second")
        (item,) = wait_for(
            lambda: (q := ferry.queue()) and q[0]["state"] == "deferred" and q, what="the first"
        )
        assert "451" in item["last_reply"] and got(smtp) == [[GOOD]]


def test_one_at_a_time_refused(make_ferry):
    with OneAtATime() as smtp:
        smtp.last = b"550 5.7.1 not this\r\n"
        ferry = make_ferry(smtp.port, relay=HOUR)
        drop(ferry, "m", to=[BAD, GOOD])
        (row,) = ferry.wait_badmail(1)
        assert row["recipients"] == [BAD] and "550 5.7.1 not this" in row["reason"]
        assert got(smtp) == [[GOOD]]


@pytest.mark.parametrize("end", [[CLOSE], [b"421 4.3.0 internal error\r\n", CLOSE]], ids=["hangs up", "421"])
def test_one_ends_the_session(make_ferry, end):
    with ScriptedSmtp({"RCPT TO:<BAD*": end}) as smtp:
        ferry = make_ferry(smtp.port, relay=SECOND | {"expire": "1h"})
        drop(ferry, "m", to=[BAD, GOOD])
        wait_for(lambda: smtp.accepted, what="the other")
        tried = len(smtp.heard("RCPT TO:<bad*"))
        wait_for(lambda: len(smtp.heard("RCPT TO:<bad*")) > tried + 2, what="it to be asked again")
        assert got(smtp) == [[GOOD]] and not ferry.badmail()


def test_one_ends_the_session_in_lmtp(make_ferry):
    """Behind the message, instead of the word on him: the one behind him gets it all the same."""
    with ScriptedSmtp({". BAD*": CLOSE}) as smtp:
        ferry = make_ferry(smtp.port, relay=SECOND | {"expire": "1h", "protocol": "lmtp"})
        drop(ferry, "m", to=[BAD, GOOD])
        wait_for(lambda: [GOOD] in got(smtp), what="the other")
        assert not ferry.badmail()


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
def test_a_command_out_of_its_place(make_ferry, command):
    with ScriptedSmtp({command + "*": times(1, b"503 5.5.1 out of sequence\r\n")}) as smtp:
        ferry = queued(make_ferry, smtp, 3, relay={"sessions": 1} | SECOND)
        ferry.drain()
        assert len(smtp.accepted) == 3 and not ferry.badmail()


class NoBdat(ScriptedSmtp):
    """Hands EHLO through, as some proxies do."""

    def do_bdat(self, talk, line):
        talk.exactly(int(line.split()[1]))
        talk.send(b"500 5.5.1 command unrecognized\r\n")


def test_chunks_that_are_offered_and_not_known(make_ferry):
    with NoBdat(extensions=("PIPELINING", "CHUNKING", "8BITMIME")) as smtp:
        ferry = queued(make_ferry, smtp, 5, relay=SECOND | {"sessions": 1})
        ferry.drain()
        assert len(smtp.accepted) == 5 and not ferry.badmail()
        assert len(smtp.heard("BDAT*")) == 1
        assert ferry.events("relayd", "relay-without-chunks")


@pytest.mark.parametrize("directory", ["outgoing", "incoming"])
def test_another_message_under_a_delivered_id(make_ferry, directory):
    """The same once more is taken away; another is nobody's copy, and goes to quarantine."""
    with ScriptedSmtp({".": times(1, b"451 4.3.0 later\r\n")}) as smtp:
        ferry = make_ferry(smtp.port, relay=HOUR)
        drop(ferry, "m", body=normalised(simple("m", body="the first\n")))
        wait_for(lambda: ferry.queue() and ferry.queue()[0]["attempts"] == 1, what="it to be put off")
        (path,) = ferry.files("outgoing")
        raw = path.read_bytes()
        ferry.ctl("retry", "--all")
        wait_for(lambda: not ferry.files("outgoing"), what="it to be sent")
        put(ferry, directory, path.name, another(raw, b"the first", b"the other"))
        (row,) = ferry.wait_badmail(1, deadline=60)
        assert b"the other" in (ferry.spool / "badmail" / f"{row['id']}.eml").read_bytes()
        put(ferry, directory, path.name, raw)
        ferry.drain()
        assert len(smtp.accepted) == 1 and len(ferry.badmail()) == 1

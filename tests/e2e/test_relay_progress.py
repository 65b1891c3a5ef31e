"""What a server may do to one message, one recipient or one connection without stopping the rest.

The same with a clock that is not slept through: tests/unit/relayd/test_progress.c.
"""

import os
import subprocess

import pytest

from tests.harness.mail import normalised, simple
from tests.harness.postfix import Postfix
from tests.harness.process import wait_for
from tests.harness.scripted import CLOSE, HANG, Drip, Gone, ScriptedPop3, ScriptedSmtp

HOUR = {"retry_min": "1h", "retry_max": "1h"}
SECOND = {"retry_min": "1s", "retry_max": "1s"}


def drop(ferry, name, to=("you@corp.example",), sender="a@origin.example", body=None):
    envelope = f"X-Sender: <{sender}>\r\n" + "".join(f"X-Receiver: <{one}>\r\n" for one in to)
    part = ferry.spool / "pickup" / f"{name}.part"
    part.write_bytes(envelope.encode() + (body or normalised(simple(name))))
    part.rename(part.with_suffix(".eml"))


def queued(make_ferry, smtp, count, relay=None, **more):
    """relayd comes when all of it waits."""
    ferry = make_ferry(smtp.port, relay=relay or {}, start=False)
    ferry.start("hygiene")
    for n in range(count):
        drop(ferry, f"m{n}", **more)
    wait_for(lambda: ferry.counts()["outgoing"] == count, 60, "all to wait")
    ferry.start("relayd")
    return ferry


def settled(ferry):
    wait_for(lambda: ferry.in_flight() == 0, 60, "all to be settled")


def test_a_refused_recipient_whose_server_hangs_up(make_ferry):
    """521 ends the connection (RFC 7504; Postfix does it): the words are kept, nothing is lost."""
    script = {"RCPT TO:<BAD*": [b"521 5.7.1 we do not want this one\r\n", CLOSE]}
    with ScriptedSmtp(script) as smtp:
        ferry = make_ferry(smtp.port, relay=HOUR)
        drop(ferry, "m", to=["bad@corp.example"])
        row, = ferry.wait_badmail(1)
        assert "we do not want this one" in row["reason"]
        assert len(smtp.heard("RCPT*")) == 1


def test_recipients_that_are_put_off_keep_nobody_from_being_asked(make_ferry, place):
    """Postfix counts 4xx as errors, too, and ends the session at the fifth."""
    home = place / "put-off"
    home.mkdir()
    (home / "rcpts").write_text("/^full/ 450 4.2.2 mailbox is full\n")
    rules = f"check_recipient_access regexp:{home}/rcpts, permit_mynetworks, reject"
    extra = f"smtpd_recipient_restrictions = {rules}\n"
    with Postfix(home, hard_error_limit=5, extra=extra) as server:
        ferry = make_ferry(server.port, relay=HOUR)
        full = [f"full{n}@corp.example" for n in range(6)]
        drop(ferry, "m", to=[*full, "good@corp.example"])
        server.wait_count("good", 1)
        wait_for(lambda: ferry.queue()[0]["attempts"] == 1, what="the round to be over")
        assert "too many errors" not in server.log()
        settled_rows = ferry.ctl_json("queue", "show", ferry.queue()[0]["id"])["settled"]
        assert [one["address"] for one in settled_rows] == ["good@corp.example"]


class Strict(ScriptedSmtp):
    """Ends the session at the fifth error; puts off those it is told to."""

    def do_rcpt(self, talk, line):
        if not any(name in line for name in self.full):
            return super().do_rcpt(talk, line)
        talk.errors = getattr(talk, "errors", 0) + 1
        talk.send(b"450 4.2.2 mailbox is full\r\n")
        if talk.errors == 5:
            talk.send(b"421 4.7.0 too many errors\r\n")
            raise Gone


def test_recipients_that_were_put_off_are_asked_again(make_ferry):
    """Each round asks about everybody once, whatever number of sessions that takes."""
    full = [f"full{n}@corp.example" for n in range(7)]
    with Strict() as smtp:
        smtp.full = full
        ferry = make_ferry(smtp.port, relay=HOUR)
        drop(ferry, "m", to=[*full, "good@corp.example"])
        for attempts in (1, 2):
            wait_for(lambda: [r for r in ferry.queue() if r["attempts"] == attempts], what="a round")
            assert [len(smtp.heard(f"RCPT TO:<{one.upper()}>")) for one in full] == [attempts] * 7
            ferry.ctl_ok("retry", "--all")
        smtp.full = full[:1]
        wait_for(lambda: len(smtp.accepted) > 1, what="those that are no longer full")
        smtp.full = []
        ferry.ctl_ok("retry", "--all")
        settled(ferry)
        reached = sorted(to for _, tos, _ in smtp.accepted for to in tos)
        assert reached == sorted([*full, "good@corp.example"])
        assert not ferry.badmail()


class OneASession(ScriptedSmtp):
    def _finish(self, talk, message):
        with self.lock:
            self.accepted.append((talk.sender, talk.recipients, message))
        talk.send(b"250 ok\r\n421 4.7.0 enough for one session\r\n")
        raise Gone


def test_a_server_that_takes_one_message_a_session(make_ferry):
    with OneASession() as smtp:
        ferry = queued(make_ferry, smtp, 100, HOUR)
        settled(ferry)
        assert len(smtp.accepted) == 100
        assert not ferry.events("relayd", "deferred") and not ferry.events("relayd", "relay-down")


class Login(ScriptedSmtp):
    """Its answer to a password takes a while."""

    good = True

    def __init__(self):
        self.tries = 0
        super().__init__(extensions=("PIPELINING", "AUTH PLAIN"))

    def do_auth(self, talk, line):
        with self.lock:
            self.tries += 1
        self.stopping.wait(0.2)
        talk.send(b"235 ok\r\n" if self.good else b"535 5.7.8 no\r\n")


def test_a_password_that_changes_is_shown_once(make_ferry):
    with Login() as smtp:
        ferry = make_ferry(smtp.port, relay={"user": "u", "auth": "plain"})
        ferry.ctl_ok("relay", "password", "--password-stdin", stdin="secret\n")
        drop(ferry, "first")
        wait_for(lambda: smtp.accepted, 20, "the first message")
        wait_for(lambda: ferry.status()["relayd"]["connections"] == 0, 20, "the line to be quiet")
        smtp.good, smtp.tries = False, 0
        for n in range(40):
            drop(ferry, f"m{n}")
        event, = wait_for(lambda: ferry.events("relayd", "relay-login-refused"), 20, "the alarm")
        assert int(event["again_in_ms"]) < 80_000
        wait_for(lambda: ferry.counts()["outgoing"] == 40, what="all to wait")
        assert smtp.tries == 1


class TooLarge(ScriptedSmtp):
    """Refuses it in the middle, and hangs up on what is still coming."""

    def do_data(self, talk, _):
        talk.send(b"354 go\r\n")
        talk.recv()
        talk.send(b"552 5.3.4 too big for us\r\n")
        raise Gone


def test_a_server_that_hangs_up_on_a_large_message(make_ferry):
    """Its last words are read, whatever becomes of what was on its way to it."""
    large = normalised(simple("large")) + (b"y" * 76 + b"\r\n") * 100_000
    with TooLarge(extensions=("PIPELINING",)) as smtp:
        ferry = make_ferry(smtp.port, relay=HOUR)
        for n in range(10):
            drop(ferry, f"m{n}", body=large)
        rows = ferry.wait_badmail(10, 60)
        assert all("too big for us" in row["reason"] for row in rows)


def test_the_servers_size_is_the_limit_and_goes_with_it(make_ferry):
    large = normalised(simple("large")) + (b"y" * 76 + b"\r\n") * 2000
    with ScriptedSmtp(extensions=("PIPELINING", "SIZE 100000")) as smtp:
        with ScriptedPop3([large]) as server:
            ferry = make_ferry(smtp.port)
            wait_for(lambda: ferry.status()["fetcherd"]["size_limit"] == 100_000, 30, "the limit")
            ferry.add_account("acc", server.port, "user", "secret", "acc@corp.example")
            ferry.fetch("acc")
            assert ferry.account("acc")["too_large"] == 1
            smtp.extensions = ["PIPELINING"]
            ferry.restart("relayd")
            want = 10 << 20
            wait_for(lambda: ferry.status()["fetcherd"]["size_limit"] == want, 30, "no limit")
            ferry.fetch("acc")
            settled(ferry)
            assert [message for *_, message in smtp.accepted] == [large]


def test_much_mail_that_is_put_off_holds_fetching_off(make_ferry):
    with ScriptedSmtp({".": b"451 4.3.0 later\r\n"}) as smtp:
        ferry = queued(make_ferry, smtp, 1100, HOUR)
        ferry.start("fetcherd")
        reason = wait_for(lambda: ferry.status()["fetcherd"]["holding_off"], 30, "it to hold off")
        assert "puts mail off" in reason
        smtp.script.clear()
        ferry.ctl_ok("retry", "--all")
        settled(ferry)
        wait_for(lambda: not ferry.status()["fetcherd"]["holding_off"], 30, "it to go on")


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own takes root to mount")
def test_a_disk_that_is_nearly_full_holds_fetching_off(make_ferry):
    with ScriptedSmtp() as smtp, ScriptedPop3([normalised(simple("one"))]) as server:
        ferry = make_ferry(smtp.port, start=False)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=0750", "tmpfs", ferry.spool], check=True)
        try:
            ferry.init()
            (ferry.spool / "filler").write_bytes(bytes(150 << 20))
            ferry.start()
            ferry.add_account("acc", server.port, "user", "secret", "acc@corp.example")
            reason = wait_for(lambda: ferry.status()["fetcherd"]["holding_off"], 30, "it")
            assert "disk" in reason
            (ferry.spool / "filler").unlink()
            wait_for(lambda: not ferry.status()["fetcherd"]["holding_off"], 30, "it to go on")
            ferry.fetch("acc")
            settled(ferry)
            assert len(smtp.accepted) == 1
        finally:
            ferry.stop()
            subprocess.run(["umount", ferry.spool], check=True)


def make_odd(kind, path):
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(normalised(simple("no preface")))


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "foreign"])
def test_what_is_no_spool_file_is_never_sent(make_ferry, kind):
    with ScriptedSmtp() as smtp:
        ferry = make_ferry(smtp.port)
        make_odd(kind, ferry.spool / "outgoing" / "01JDABCDEFGHJKMNPQRSTVWXYZ.eml")
        drop(ferry, "good")
        wait_for(lambda: smtp.accepted, what="the good one")
        wait_for(lambda: ferry.events("relayd", "spool-file-damaged"), what="the alarm")
        row, = ferry.wait_badmail(1)
        assert row["id"] == "01JDABCDEFGHJKMNPQRSTVWXYZ"
        assert len(smtp.accepted) == 1
        ferry.ctl_json("badmail", "show", row["id"])


def test_a_spool_file_that_is_missing_is_an_alarm(make_ferry):
    with ScriptedSmtp({"GREETING": b"421 not yet\r\n"}) as smtp:
        ferry = queued(make_ferry, smtp, 2, SECOND)
        wait_for(lambda: ferry.status()["relayd"]["queue"]["ready"] == 2, what="both to be known")
        ferry.files("outgoing")[0].unlink()
        smtp.script.clear()
        wait_for(lambda: ferry.events("relayd", "spool-file-missing"), 30, "the alarm")
        settled(ferry)
        assert len(smtp.accepted) == 1


class ForgetsAuth(ScriptedSmtp):
    """Offers AUTH at first, and no more behind XCLIENT."""

    def do_ehlo(self, talk, line):
        said = any(one.startswith("XCLIENT") for one in talk.lines)
        auth = b"" if said else b"250-AUTH PLAIN\r\n"
        talk.send(b"250-x\r\n250-PIPELINING\r\n" + auth + b"250 XCLIENT NAME ADDR PROTO HELO\r\n")

    def do_auth(self, talk, line):
        talk.send(b"235 ok\r\n")


def test_a_login_that_fails_behind_xclient(make_ferry):
    """The message is in the queue again, and the next one goes."""
    came = b"Received: from h.example (n.example [192.0.2.7])\r\n\tby mx.isp.example with ESMTP; x\r\n"
    with ForgetsAuth() as smtp:
        relay = HOUR | {"user": "u", "auth": "plain", "client": "xclient"}
        ferry = make_ferry(smtp.port, relay=relay, fetch={"received_by": "mx.isp.example"})
        ferry.ctl_ok("relay", "password", "--password-stdin", stdin="secret\n")
        drop(ferry, "m", body=came + normalised(simple("m")))
        wait_for(lambda: smtp.heard("XCLIENT*"), what="the client to be told")
        wait_for(lambda: ferry.status()["relayd"]["queue"]["in_flight"] == 0, what="it to be put back")
        drop(ferry, "own")
        wait_for(lambda: smtp.accepted, 30, "the other message")


def test_a_stop_in_the_midst_of_ehlo_is_in_order(make_ferry):
    """To be cut off counts as an error with many servers, and as an attack with some."""
    with ScriptedSmtp({"EHLO*": Drip(b"250 mail\r\n", pause=0.1)}) as smtp:
        ferry = make_ferry(smtp.port)
        wait_for(lambda: smtp.heard("EHLO*"), what="the look at the server")
        assert ferry.stop("relayd") == {"relayd": 0}
        assert smtp.heard("QUIT")


def test_a_server_that_hangs_holds_up_no_stop(make_ferry):
    with ScriptedSmtp({"EHLO*": HANG}) as smtp:
        ferry = make_ferry(smtp.port)
        wait_for(lambda: smtp.heard("EHLO*"), what="the look at the server")
        assert ferry.stop("relayd") == {"relayd": 0}
        assert not smtp.heard("QUIT") and not ferry.events("relayd", "relay-failed")


def test_a_stop_in_place_of_a_login(make_ferry):
    """What is said of the password before EHLO is answered does not go out any more."""
    ehlo = Drip(b"250-mail\r\n250 AUTH PLAIN\r\n", pause=0.03)
    with ScriptedSmtp({"EHLO*": ehlo}) as smtp:
        ferry = make_ferry(smtp.port, relay={"user": "me", "auth": "plain"}, start=False)
        ferry.ctl_ok("relay", "password", "--password-stdin", stdin="secret\n")
        ferry.start()
        wait_for(lambda: smtp.heard("EHLO*"), what="the look at the server")
        assert ferry.stop("relayd") == {"relayd": 0}
        assert smtp.heard("QUIT") and not smtp.heard("AUTH*")

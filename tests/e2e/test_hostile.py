"""Servers that misbehave: nothing is lost, nothing is fetched twice, and the others go on.

What POP3 servers and mail are known to do, and the test for it (TLS: test_tls.py; APOP, NTLM:
test_auth.py):

    terminator glued to the last line, or without LF   ONCE["terminator ..."]
    blank line instead of the reply to DELE            ONCE["DELE answered by a blank line"]
    +ERR, -OK, lower case, no text                     ONCE, test_answers_without_text
    UIDL odd, blank, double, 8-bit, overlong           test_odd_uidl_lists
    UIDL not there at all                              test_no_uidl*
    UIDL missing once, or used again                   test_uidl_missing_once, test_uidl_reused
    LIST size wrong                                    test_list_size_is_wrong
    LIST and STAT overflow, endless lines and bodies   ONCE, test_message_without_end
    bare LF, CR CR LF, NUL, LF.LF, long lines, 8-bit   test_odd_mail
    message hidden after RETR                          test_hidden_after_retr
    [IN-USE], [LOGIN-DELAY], [SYS/...]                 test_schedule.py
    QUIT refused, EOF within RETR                      ONCE
    CR, LF in a user name                              test_line_end_in_user_name
    endless header, MIME without end                   test_odd_mail
    control characters in the server's words           test_control_characters_are_escaped
    answers before their commands                      test_early_answers_confirm_nothing
    the password in the server's words                 test_the_password_is_not_shown
    an octet now and then                              test_drip
"""

import json
from base64 import b64encode

import pytest

from tests.harness.mail import normalised, simple
from tests.harness.process import free_port, wait_for
from tests.harness.scripted import (
    CLOSE,
    Drip,
    Endless,
    HANG,
    Keeping,
    Numbered,
    RESET,
    ScriptedPop3,
    ScriptedSmtp,
    stuffed,
    times,
)

MESSAGES = [normalised(simple(f"number {n}", body=f"{n}\n.\n..{n}\n" * 50)) for n in range(1, 4)]


OTHER = normalised(simple("quite another", body="of another size\n"))


@pytest.fixture
def smtp():
    with ScriptedSmtp() as server:
        yield server


@pytest.fixture
def ferry(make_ferry, smtp):
    fetch = {"timeout": "2s", "connect_timeout": "2s", "message_size": "1M"}
    relay = {"retry_min": "1s", "retry_max": "1s"}
    return make_ferry(smtp.port, fetch=fetch, relay=relay)


def account(ferry, server, name="acc"):
    ferry.add_account(name, server.port, "user", "secret", f"{name}@corp.example")


def accepted(smtp):
    return sorted(message for _, _, message in smtp.accepted)


ONCE = {
    "EOF within RETR": {"RETR 2": [b"+OK\r\nSubject: half a mess", CLOSE]},
    "reset within RETR": {"RETR 2": [b"+OK\r\nSubject: half a mess\r\n", RESET]},
    "EOF for the terminator": {"RETR 2": [b"+OK\r\n" + stuffed(MESSAGES[1]), CLOSE]},
    "terminator without its LF": {"RETR 2": [b"+OK\r\n" + stuffed(MESSAGES[1]) + b".\r", CLOSE]},
    "terminator glued": {"RETR 2": [b"+OK\r\n" + stuffed(MESSAGES[1])[:-2] + b".\r\n", HANG]},
    "silence within RETR": {"RETR 2": [b"+OK\r\nSubject: half", HANG]},
    "odd answer to RETR": {"RETR 2": b"+ERR what\r\n"},
    "-OK to RETR": {"RETR 2": b"-OK\r\n"},
    "lower case": {"RETR 2": b"+ok lower\r\n"},
    "blank line for an answer": {"RETR 2": b"\r\n"},
    "endless answer line": {"RETR 2": Endless(b"x" * 8192, 1 << 26)},
    "NULs for an answer": {"RETR 2": b"\0\0\0\0\r\n"},
    "greeting -ERR": {"GREETING": b"-ERR [SYS/TEMP] too busy\r\n"},
    "greeting endless": {"GREETING": Endless(b"+", 1 << 26)},
    "greeting closed": {"GREETING": CLOSE},
    "greeting silent": {"GREETING": HANG},
    "greeting of another protocol": {"GREETING": b"220 smtp here\r\n"},
    "login refused": {"PASS*": b"-ERR [AUTH] no\r\n"},
    "mailbox in use": {"PASS*": b"-ERR [IN-USE] busy\r\n"},
    "STAT nonsense": {"STAT": b"+OK many much\r\n"},
    "STAT overflow": {"STAT": b"+OK 99999999999999999999 1\r\n"},
    "LIST overflow": {"LIST": b"+OK\r\n1 99999999999999999999999\r\n4294967297 5\r\n-1 5\r\n.\r\n"},
    "LIST endless": {"LIST": [b"+OK\r\n", Endless(b"1 1\r\n", 1 << 26)]},
    "UIDL refused": {"UIDL": b"-ERR later\r\n"},
    "UIDL endless": {"UIDL": [b"+OK\r\n", Endless(b"1 x\r\n", 1 << 26)]},
    "UIDL line endless": {"UIDL": [b"+OK\r\n1 ", Endless(b"u" * 8192, 1 << 26)]},
    "CAPA closes": {"CAPA": CLOSE},
    "DELE answered by a blank line": {"DELE 1": b"\r\n"},
    "DELE refused": {"DELE 2": b"-ERR no\r\n"},
    "DELE closes": {"DELE 2": CLOSE},
    "an answer too many": {"DELE 3": b"+OK gone\r\n+OK bye\r\n"},
    "an answer behind a message": {"RETR 3": [b"+OK\r\n" + stuffed(MESSAGES[2]) + b".\r\n+OK\r\n"]},
    "QUIT refused": {"QUIT": b"-ERR could not\r\n"},
    "QUIT closes": {"QUIT": CLOSE},
    "QUIT silent": {"QUIT": HANG},
}


@pytest.mark.parametrize("trouble", ONCE)
def test_pop3_trouble_once(ferry, smtp, trouble):
    """A fault that happens once costs time, not mail: all arrives, each message once, and the
    mailbox is empty in the end."""
    script = {word: times(1, reply) for word, reply in ONCE[trouble].items()}
    with ScriptedPop3(MESSAGES, script) as server:
        account(ferry, server)

        def done():
            ferry.fetch("acc")
            return not server.mailbox

        wait_for(done, 40, "the mailbox to be empty", interval=0.2)
        ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES)
        assert ferry.badmail() == []
        assert ferry.running("fetcherd")


def test_err_to_one_retr_is_stepped_over(ferry, smtp):
    """A message that can't be had never stops the ones behind it."""
    with ScriptedPop3(MESSAGES, {"RETR 1": times(99, b"-ERR broken\r\n")}) as server:
        account(ferry, server)
        for _ in range(3):
            ferry.fetch("acc")
        ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES[1:])
        assert list(server.mailbox) == ["uid-1"]


@pytest.mark.parametrize("piece", [b"y" * 70 + b"\r\n", b"z" * 8192], ids=["lines", "one line"])
def test_message_without_end(ferry, smtp, piece):
    """What is longer than the limit, whatever LIST said, is cut off and left on the server."""
    endless = [b"+OK\r\n", Endless(piece, 1 << 28)]
    with ScriptedPop3([MESSAGES[0], endless, MESSAGES[2]]) as server:
        account(ferry, server)
        for _ in range(5):
            ferry.fetch("acc")
        wait_for(lambda: len(smtp.accepted) == 2, what="the other messages")
        ferry.fetch("acc")
        assert accepted(smtp) == [MESSAGES[0], MESSAGES[2]]
        assert list(server.mailbox) == ["uid-2"]
        assert len(ferry.events("fetcherd", "message-too-large")) == 1
        assert ferry.account("acc")["too_large"] == 1


def test_message_that_kills_each_session_is_stepped_over(ferry, smtp):
    """RETR of the first message always ends the connection: in time, the ones behind it come."""
    poison = [b"+OK\r\nSubject: never comp", CLOSE]
    script = {"RETR 1": poison, "TOP 1*": poison}
    with ScriptedPop3(MESSAGES, script) as server:
        account(ferry, server)

        def others_arrived():
            ferry.fetch("acc")
            return len(smtp.accepted) == 2

        wait_for(others_arrived, 40, "the other messages")
        assert accepted(smtp) == sorted(MESSAGES[1:])


@pytest.mark.parametrize(
    "lines",
    [
        b"1 uid-1\r\n\r\n2 uid-2\r\n3 uid-3\r\n",
        b"1 uid-1\r\n2\r\n3 uid-3\r\n",
        b"1   uid-1  \r\n2 uid-2\r\n3 uid-3\r\n",
        b"1 \x80\xff\r\n2 uid-2\r\n3 " + b"u" * 500 + b"\r\n",
        b"1 same\r\n2 same\r\n3 uid-3\r\n",
        b"7 uid-7\r\n1 uid-1\r\nx y\r\n3 uid-3\r\n",
    ],
    ids=["blank line", "no id", "spaces", "8-bit and long", "duplicate", "unknown numbers"],
)
def test_odd_uidl_lists(ferry, smtp, lines):
    """Bad lines are skipped, not the mailbox; nothing is deleted that did not arrive."""
    with ScriptedPop3(MESSAGES, {"UIDL": b"+OK\r\n" + lines + b".\r\n"}) as server:
        account(ferry, server)
        for _ in range(3):
            ferry.fetch("acc")
            ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES)
        here = set(server.mailbox.values())
        assert not [raw for raw in MESSAGES if raw not in here and raw not in accepted(smtp)]
        assert ferry.running("fetcherd")


def test_answers_without_text(ferry, smtp):
    bare = {word: b"+OK\r\n" for word in ("GREETING", "USER*", "PASS*", "DELE*")}
    with ScriptedPop3(MESSAGES, bare) as server:
        account(ferry, server)
        assert ferry.fetch("acc") == 0
        ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES)


PLAIN = ("USER",)  # capabilities: an old server


def test_no_uidl(ferry, smtp):
    """A server without UIDL: messages are known by their content, and go in the same session."""
    with ScriptedPop3(MESSAGES, {"UIDL*": b"-ERR unknown\r\n"}, PLAIN) as server:
        account(ferry, server)
        assert ferry.fetch("acc") == 0
        assert accepted(smtp) == sorted(MESSAGES)
        assert not server.mailbox
        assert ferry.events("fetcherd", "no-uidl")


def test_no_uidl_session_breaks(ferry, smtp):
    """The connection drops before the deletions are certain: nothing comes a second time."""
    script = {"UIDL*": b"-ERR unknown\r\n", "QUIT": times(2, CLOSE)}
    with ScriptedPop3(MESSAGES, script, PLAIN) as server:
        account(ferry, server)
        for _ in range(3):
            ferry.fetch("acc")
        assert accepted(smtp) == sorted(MESSAGES)
        assert not server.mailbox


def test_no_uidl_outcome_comes_later(make_ferry):
    """The SMTP server is away while mail is fetched: the next session knows it by its content."""
    port = free_port()
    ferry = make_ferry(port, fetch={"timeout": "2s"}, relay={"retry_min": "1s", "retry_max": "1s"})
    with ScriptedPop3(MESSAGES, {"UIDL*": b"-ERR unknown\r\n"}, PLAIN) as server:
        account(ferry, server)
        ferry.ctl_ok("fetch", "acc")
        wait_for(lambda: ferry.counts()["outgoing"] == 3, what="three files in outgoing/")
        ferry.stop("fetcherd")
        assert len(server.mailbox) == 3
        with ScriptedSmtp(port=port) as smtp:
            wait_for(lambda: len(smtp.accepted) == 3, what="delivery")
            ferry.start("fetcherd")
            ferry.fetch("acc")
            ferry.drain()
            assert accepted(smtp) == sorted(MESSAGES)
            assert not server.mailbox


def test_uidl_missing_once(ferry, smtp):
    """A UIDL that one listing lacks and the next has again is not a new message."""
    script = {"UIDL": b"+OK\r\n1 uid-1\r\n3 uid-3\r\n.\r\n"}
    ferry.fetch_section["delete"] = "never"
    ferry.write_conf()
    ferry.restart("fetcherd")
    with ScriptedPop3(MESSAGES) as server:
        account(ferry, server)
        ferry.fetch("acc")
        ferry.drain()
        server.script = script
        server.script["LIST"] = b"+OK\r\n1 1000\r\n3 1000\r\n.\r\n"
        ferry.fetch("acc")
        server.script = {}
        ferry.fetch("acc")
        ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES)
        assert len(server.mailbox) == 3


def test_uidl_reused(ferry, smtp):
    """A UIDL that was deleted and stands for other mail now."""
    with ScriptedPop3(MESSAGES[:1]) as server:
        account(ferry, server)
        ferry.fetch("acc")
        wait_for(lambda: ferry.fetch("acc") == 0 and not server.mailbox, what="an empty mailbox")
        server.mailbox["uid-1"] = MESSAGES[1]
        wait_for(lambda: ferry.fetch("acc") == 0 and not server.mailbox, what="an empty mailbox")
        assert accepted(smtp) == sorted(MESSAGES[:2])


@pytest.mark.parametrize("delete", ["delivered", "never"])
def test_uidl_reused_while_it_waits(make_ferry, delete):
    """Another client deletes a message of ours, and the server gives its UIDL to other mail."""
    port = free_port()
    relay = {"retry_min": "1s", "retry_max": "1s"}
    ferry = make_ferry(port, fetch={"timeout": "2s", "delete": delete}, relay=relay)
    with ScriptedPop3(MESSAGES[:1]) as server:
        account(ferry, server)
        ferry.ctl_ok("fetch", "acc")
        wait_for(lambda: ferry.counts()["outgoing"] == 1, what="a file in outgoing/")
        wait_for(lambda: ferry.account("acc")["state"] != "polling", what="the end of the poll")
        server.mailbox["uid-1"] = OTHER
        with ScriptedSmtp(port=port) as smtp:
            wait_for(lambda: len(smtp.accepted) == 1, what="delivery")
            ferry.fetch("acc")
            wait_for(lambda: len(smtp.accepted) == 2, what="the other mail")
            ferry.fetch("acc")
            assert accepted(smtp) == sorted([MESSAGES[0], OTHER])
            assert len(server.mailbox) == (delete == "never")


def test_numbers_for_uidls(make_ferry):
    """UIDLs are numbers, another client deletes the first, and what follows is of the same size."""
    port = free_port()
    ferry = make_ferry(port, fetch={"timeout": "2s"}, relay={"retry_min": "1s", "retry_max": "1s"})
    twins = [normalised(simple(f"twin {n}", body=f"{n}\n")) for n in range(1, 4)]
    assert len({len(raw) for raw in twins}) == 1
    with Numbered(twins[:2]) as server:
        account(ferry, server)
        ferry.ctl_ok("fetch", "acc")
        wait_for(lambda: ferry.counts()["outgoing"] == 2, what="two files in outgoing/")
        wait_for(lambda: ferry.account("acc")["state"] != "polling", what="the end of the poll")
        del server.mailbox["uid-1"]
        server.mailbox["uid-3"] = twins[2]
        with ScriptedSmtp(port=port) as smtp:
            wait_for(lambda: len(smtp.accepted) == 2, what="delivery")
            for _ in range(3):
                ferry.fetch("acc")
                ferry.drain()
            assert accepted(smtp) == sorted(twins)
            assert not server.mailbox


def test_first_of_two_with_one_uidl_goes(ferry, smtp):
    """Two messages share a UIDL, and another client deletes the first of them."""
    ferry.fetch_section["delete"] = "never"
    ferry.write_conf()
    ferry.restart("fetcherd")
    with ScriptedPop3(MESSAGES[:2], {"UIDL": b"+OK\r\n1 same\r\n2 same\r\n.\r\n"}) as server:
        account(ferry, server)
        ferry.fetch("acc")
        ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES[:2])
        del server.mailbox["uid-1"]
        server.script["UIDL"] = b"+OK\r\n1 same\r\n.\r\n"
        ferry.fetch("acc")
        server.mailbox["uid-3"] = MESSAGES[2]
        server.script["UIDL"] = b"+OK\r\n1 same\r\n2 other\r\n.\r\n"
        ferry.fetch("acc")
        ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES)


def test_no_uidl_and_nothing_is_deleted(ferry, smtp):
    """What comes again at each poll is known by its content, and delivered once."""
    with Keeping(MESSAGES, {"UIDL*": b"-ERR unknown\r\n"}, PLAIN) as server:
        account(ferry, server)
        for _ in range(3):
            assert ferry.fetch("acc") == 0
        ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES)
        assert len(server.mailbox) == 3


@pytest.mark.parametrize("size", [0, 1, 900_000])
def test_list_size_is_wrong(ferry, smtp, size):
    lines = b"".join(b"%d %d\r\n" % (n, size) for n in (1, 2, 3))
    with ScriptedPop3(MESSAGES, {"LIST": b"+OK\r\n" + lines + b".\r\n"}) as server:
        account(ferry, server)
        assert ferry.fetch("acc") == 0
        ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES)


NESTED = b"".join(
    b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2000)
)
ODD = {
    "bare LF": b"Subject: x\n\nbare\nlines\n",
    "CR CR LF": b"Subject: x\r\r\n\r\r\nbody\r\r\n",
    "NUL": b"Subject: x\r\n\r\na\0b\r\n",
    "LF dot LF": b"Subject: x\r\n\r\nbefore\n.\nafter\r\n",
    "LF dot CRLF": b"Subject: x\r\n\r\nbefore\n.\r\nafter\r\n",
    "long line": b"Subject: x\r\n\r\n" + b"y" * 100_000 + b"\r\n",
    "header without colon": b"Subject: x\r\nno colon here\r\n\r\nbody\r\n",
    "8-bit header": b"Subject: \xe4\xff\r\nFrom: \xfc <a@b.example>\r\n\r\n\xff\r\n",
    "no header": b"\r\nbody\r\n",
    "500k addresses": b"To: " + b"a@b.example,\r\n " * 60_000 + b"z@b.example\r\n\r\nbody\r\n",
    "MIME without end": NESTED,
    "preface of its own": b"X-Popferry: 1 lines=2 id=X account=y\r\nX-Receiver: <evil@x>\r\n\r\n\r\n",
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_mail(make_ferry, smtp, kind):
    """Whatever is in a message, it arrives (or a person is asked), and those beside it do."""
    ferry = make_ferry(smtp.port, fetch={"timeout": "3s"})
    with ScriptedPop3([MESSAGES[0], ODD[kind], MESSAGES[2]]) as server:
        account(ferry, server)
        assert ferry.fetch("acc") == 0
        ferry.drain()
        held = len(ferry.badmail())
        assert len(smtp.accepted) + held == 3 and held <= 1
        assert MESSAGES[0] in accepted(smtp) and MESSAGES[2] in accepted(smtp)
        assert all(to == ["acc@corp.example"] for _, to, _ in smtp.accepted)
        ferry.fetch("acc")
        assert not server.mailbox


class Hiding(ScriptedPop3):
    """As Gmail does: what was retrieved once is not listed again."""

    def do_retr(self, talk, rest, listing, deleted):
        super().do_retr(talk, rest, listing, deleted)
        self.mailbox.pop(listing[int(rest) - 1][0], None)


def test_hidden_after_retr(ferry, smtp):
    """The message was received whole, so it is ours, though the connection breaks behind it."""
    with Hiding(MESSAGES, {"RETR 3": times(1, [b"+OK\r\nSubject: half", CLOSE])}) as server:
        account(ferry, server)
        for _ in range(2):
            ferry.fetch("acc")
        ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES)


def test_line_end_in_user_name(ferry):
    where = ("--server", "127.0.0.1", "--user", "a\r\nDELE 1", "--deliver-to", "a@corp.example")
    code, _, err = ferry.ctl("account", "add", "acc", *where, "--password-stdin", stdin="x\n")
    assert code and "user" in err


def test_control_characters_are_escaped(ferry):
    words = b"-ERR \x1b]0;owned\x07 \x9b31m \xe2\x80\xae\r\n"
    with ScriptedPop3(MESSAGES, {"PASS*": words}) as server:
        account(ferry, server)
        ferry.fetch("acc")
        raw = (ferry.home / "fetcherd.log").read_bytes()
        shown = ferry.ctl_ok("status") + ferry.ctl_ok("account", "show", "acc")
        assert b"\x1b" not in raw and b"\x9b" not in raw and b"\xe2\x80\xae" not in raw
        assert "\x1b" not in shown and "\x9b" not in shown and "owned" in shown


EARLY = {
    "PASS": ({"USER *": b"+OK\r\n+OK in\r\n"}, 'before its command: "+OK in"'),
    "DELE": ({"RETR 1": b"+OK\r\n" + stuffed(MESSAGES[0]) + b".\r\n+OK gone\r\n"}, '"+OK gone"'),
    "QUIT": ({"DELE 1": [b"+OK gone\r\n+OK bye\r\n", CLOSE]}, '"+OK bye"'),
}


@pytest.mark.parametrize("where", EARLY)
@pytest.mark.parametrize("words", [("UIDL", "USER"), ("UIDL", "USER", "PIPELINING")], ids=len)
def test_early_answers_confirm_nothing(ferry, smtp, where, words):
    """An answer that was there before its command is none: nothing counts as deleted by it."""
    script = {word: times(1, reply) for word, reply in EARLY[where][0].items()}
    with ScriptedPop3(MESSAGES[:1], script, capabilities=words) as server:
        account(ferry, server)
        ferry.fetch("acc")
        assert EARLY[where][1] in ferry.account("acc")["error"] and server.mailbox
        assert not ferry.account("acc")["deleted"]

        def gone():
            ferry.fetch("acc")
            return not server.mailbox

        wait_for(gone, 20, "the mailbox to be empty", interval=0.2)
        ferry.drain()
        assert accepted(smtp) == MESSAGES[:1]


PASSWORD = "Gruen-Spargel+77"
PASSWORD_64 = b64encode(PASSWORD.encode()).decode().rstrip("=")
ECHOES = {
    "refused": f"-ERR unknown: PASS {PASSWORD} ({PASSWORD_64}==)\r\n",
    "refused with a code": f"-ERR [AUTH] {PASSWORD}\r\n",
    "no answer": f"{PASSWORD} {PASSWORD_64}\r\n",
}


@pytest.mark.parametrize("echo", ECHOES)
def test_the_password_is_not_shown(ferry, echo):
    """A server that says again what it was told; nobody says it after it."""
    with ScriptedPop3(MESSAGES, {"PASS *": ECHOES[echo].encode()}) as server:
        ferry.add_account("acc", server.port, "user", PASSWORD, "a@corp.example")
        assert ferry.fetch("acc") != 0
        shown = {
            "log": ferry.log("fetcherd"),
            "transcript": (ferry.state / "sessions" / "acc.log").read_text(),
            "status": json.dumps(ferry.status()),
            "account show": ferry.ctl_ok("account", "show", "acc"),
            "account test": ferry.ctl("account", "test", "acc")[1],
            "account test --json": ferry.ctl("account", "test", "acc", "--json")[1],
        }
        for where, text in shown.items():
            assert "****" in text, where
            assert PASSWORD not in text and PASSWORD_64 not in text, where
        assert server.heard(f"PASS {PASSWORD}")
        assert ferry.secrets_in_clear(PASSWORD, PASSWORD_64) == []


DRIPS = {
    "greeting": {"GREETING": Drip(b"+OK" + b" " * 5000)},
    "CAPA": {"CAPA": [b"+OK\r\n", Drip(b"X\r\n" * 2000)]},
    "UIDL": {"UIDL": [b"+OK\r\n", Drip(b"1 x\r\n" * 2000)]},
    "message": {"RETR 1": [b"+OK\r\n", Drip(b"Subject: slow\r\n" * 2000)]},
}


@pytest.mark.parametrize("where", DRIPS)
def test_drip(ferry, where):
    """A server that lets an octet drip before each time-out does not hold a session for ever."""
    with ScriptedPop3(MESSAGES, DRIPS[where]) as server:
        account(ferry, server)
        assert ferry.fetch("acc", timeout=20) != 0
        failed = ferry.events("fetcherd", "poll-failed")[-1]
        assert "too slowly" in failed["error"] and failed["command"]
        if where == "message":
            assert ferry.events("fetcherd", "message-failed")


def test_stepped_over_is_shown_and_told(ferry):
    with ScriptedPop3(MESSAGES[:1], {"RETR 1": b"-ERR broken here\r\n"}) as server:
        account(ferry, server)
        for _ in range(4):
            ferry.fetch("acc")
        told = ferry.events("fetcherd", "message-stepped-over")
        assert told and "broken here" in told[0]["error"]
        assert ferry.account("acc")["stepped_over"] == 1


def test_one_hostile_server_does_not_delay_others(ferry, smtp):
    endless = {"GREETING": Endless(b"+OK ", 1 << 30)}
    with ScriptedPop3(MESSAGES, endless) as bad, ScriptedPop3(MESSAGES) as good:
        account(ferry, bad, "bad")
        account(ferry, good, "good")
        ferry.ctl_ok("fetch", "bad")
        assert ferry.fetch("good") == 0
        ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES)


SMTP_ONCE = {
    "421 at the greeting": {"GREETING": [b"421 4.3.2 closing\r\n", CLOSE]},
    "554 at the greeting": {"GREETING": [b"554 5.7.1 no service\r\n", CLOSE]},
    "silent close": {"GREETING": CLOSE},
    "POP3 greeting": {"GREETING": [b"+OK ready\r\n", CLOSE]},
    "EHLO refused": {"EHLO*": b"550 go away\r\n", "HELO*": b"550 go away\r\n"},
    "EHLO without end": {"EHLO*": Endless(b"250-and more\r\n", 1 << 26)},
    "EHLO line without end": {"EHLO*": Endless(b"2" * 8192, 1 << 26)},
    "421 to MAIL": {"MAIL*": [b"421 4.3.2 bye\r\n", CLOSE]},
    "closed at MAIL": {"MAIL*": CLOSE},
    "mixed codes": {"MAIL*": b"250-one\r\n550 two\r\n"},
    "code 199": {"MAIL*": b"199 what\r\n"},
    "garbage": {"MAIL*": b"\xff\xfe\0hello\r\n"},
    "endless reply to RCPT": {"RCPT*": Endless(b"250-more\r\n", 1 << 26)},
    "451 to RCPT": {"RCPT*": b"451 4.3.0 later\r\n"},
    "451 to DATA": {"DATA": b"451 4.3.0 later\r\n"},
    "421 after the dot": {".": [b"421 4.3.2 bye\r\n", CLOSE]},
    "452 after the dot": {".": b"452 4.3.1 full\r\n"},
    "closed after the dot": {".": CLOSE},
    "endless reply after the dot": {".": Endless(b"250-more\r\n", 1 << 26)},
    "250 to DATA": {"DATA": b"250 what\r\n"},
}


@pytest.mark.parametrize("trouble", SMTP_ONCE)
def test_smtp_trouble_once(make_ferry, trouble):
    """A server's fault is never the messages': all is delivered in the end, nothing in badmail."""
    script = {word: times(1, reply) for word, reply in SMTP_ONCE[trouble].items()}
    with ScriptedSmtp(script) as smtp, ScriptedPop3(MESSAGES) as server:
        relay = {"retry_min": "1s", "retry_max": "1s", "sessions": 1}
        ferry = make_ferry(smtp.port, relay=relay)
        account(ferry, server)
        ferry.fetch("acc")

        def done():
            ferry.ctl("retry", "--all")
            return len(smtp.accepted) >= 3

        wait_for(done, 40, "all messages", interval=0.3)
        ferry.drain()
        assert accepted(smtp) == sorted(MESSAGES)
        assert ferry.badmail() == []
        assert ferry.running("relayd")


def test_not_more_than_three_protocol_errors_a_session(make_ferry):
    """Exchange ends a session at the fifth; relayd ends it first, and begins anew."""
    many = [normalised(simple(f"number {n}")) for n in range(12)]
    with ScriptedSmtp({"MAIL*": b"501 5.5.4 syntax\r\n"}) as smtp, ScriptedPop3(many) as server:
        ferry = make_ferry(smtp.port, relay={"sessions": 1})
        account(ferry, server)
        ferry.fetch("acc")
        ferry.wait_badmail(12)
        refused = [
            len([line for line in one.lines if line.startswith("MAIL")])
            for one in smtp.conversations
        ]
        assert max(refused) <= 3 and sum(refused) == 12


def test_nothing_ever_answers(make_ferry):
    """No SMTP server at all: mail is fetched and waits, nothing is deleted, status tells."""
    with ScriptedPop3(MESSAGES) as server:
        ferry = make_ferry(free_port())
        account(ferry, server)
        ferry.fetch("acc")
        wait_for(lambda: ferry.counts()["outgoing"] == 3, what="three files in outgoing/")
        assert len(server.mailbox) == 3
        assert ferry.status()["spool"]["outgoing"] == 3

"""When accounts are polled: intervals, back-off, and what servers say about coming again."""

import sqlite3
from contextlib import closing
from datetime import datetime, timezone

import pytest

from tests.harness.mail import normalised, simple
from tests.harness.popferry import sleep
from tests.harness.process import wait_for
from tests.harness.scripted import HANG, ScriptedPop3, ScriptedSmtp, times

MESSAGES = [normalised(simple(f"number {n}")) for n in range(1, 4)]
UIDL = ("UIDL", "USER", "PIPELINING")


@pytest.fixture
def ferry(make_ferry):
    with ScriptedSmtp() as smtp:
        made = make_ferry(smtp.port, fetch={"timeout": "5s"})
        made.smtp = smtp
        yield made


def account(ferry, server, name="acc", more=()):
    ferry.add_account(name, server.port, "user", "secret", f"{name}@corp.example", more=more)


def polled(ferry, name="acc"):
    """`account show` when the next poll by the clock is done."""
    before = ferry.ctl_json("account", "show", name)["last_try"]
    overdue(ferry)
    show = lambda: ferry.ctl_json("account", "show", name)  # noqa: E731
    return wait_for(
        lambda: (it := show())["last_try"] not in (None, before) and it["state"] != "polling" and it, what="a poll"
    )


def minutes_until(text):
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (at - datetime.now(timezone.utc)).total_seconds() / 60


def overdue(ferry):
    """Every account became due long ago, while fetcherd was down."""
    ferry.stop("fetcherd")
    with closing(sqlite3.connect(ferry.state / "fetcherd.db")) as db, db:
        db.execute("UPDATE account SET next_poll = 1")
    ferry.start("fetcherd")


@pytest.mark.parametrize("interval", ["5m", "24h"])
def test_interval(ferry, interval):
    """An account's own, give or take a quarter."""
    minutes = {"5m": 5, "24h": 1440}[interval]
    with ScriptedPop3() as server:
        account(ferry, server, more=["--interval", interval])
        left = minutes_until(polled(ferry)["next_poll"])
        assert 0.74 * minutes - 0.5 <= left <= 1.26 * minutes


def test_default_interval(ferry):
    with ScriptedPop3() as server:
        account(ferry, server)
        assert 10 < minutes_until(polled(ferry)["next_poll"]) < 19


def test_what_is_due_is_polled_after_a_pause(ferry):
    with ScriptedPop3(MESSAGES) as server:
        account(ferry, server)
        overdue(ferry)
        wait_for(lambda: not server.mailbox, what="the poll")


# code -> (counts as a bad password, least and most minutes until the next poll)
CODES = {
    "[IN-USE] busy": (False, 0.5, 2),
    "[SYS/TEMP] try later": (False, 0.5, 2),
    "[SYS/PERM] call us": (False, 4 * 60, 8 * 60),
    "[LOGIN-DELAY] too soon": (False, 39, 61),
    "[AUTH] wrong": (True, 0.5, 2),
    "wrong": (True, 0.5, 2),
}


@pytest.mark.parametrize("code", CODES)
def test_response_code(ferry, code):
    bad_password, least, most = CODES[code]
    script = {"PASS*": b"-ERR " + code.encode() + b"\r\n"}
    with ScriptedPop3(MESSAGES, script, (*UIDL, "RESP-CODES", "LOGIN-DELAY 2400")) as server:
        if "DELAY" not in code:
            server.capabilities.remove("LOGIN-DELAY 2400")
        account(ferry, server)
        shown = polled(ferry)
        assert least - 0.2 <= minutes_until(shown["next_poll"]) <= most + 0.2
        assert code in shown["error"]
        for _ in range(3):
            ferry.fetch("acc")
        paused = ferry.events("fetcherd", "account-paused")
        assert bool(paused) == bad_password
        assert (ferry.account("acc")["state"] == "paused") == bad_password
        if "PERM" in code:
            assert ferry.events("fetcherd", "server-refuses")


def test_server_that_marks_bad_passwords(ferry):
    """RFC 3206: where AUTH-RESP-CODE is offered, a refusal without [AUTH] is no bad password."""
    script = {"PASS*": b"-ERR the directory does not answer\r\n"}
    with ScriptedPop3(MESSAGES, script, (*UIDL, "AUTH-RESP-CODE")) as server:
        account(ferry, server)
        for _ in range(4):
            ferry.fetch("acc")
        assert not ferry.events("fetcherd", "account-paused")


def test_three_bad_passwords_then_no_more(ferry):
    """The pause outlives a restart; a new password lifts it."""
    with ScriptedPop3(MESSAGES, {"PASS secret": b"-ERR [AUTH] no\r\n"}) as server:
        account(ferry, server)
        polled(ferry)
        for _ in range(2):
            sleep(1)  # times are told in seconds
            polled(ferry)
        wait_for(lambda: ferry.account("acc")["state"] == "paused", what="the pause")
        assert len(server.heard("PASS*")) == 3
        overdue(ferry)
        assert ferry.account("acc")["state"] == "paused"
        ferry.ctl_ok("account", "set", "acc", "--password-stdin", stdin="other\n")
        wait_for(lambda: not server.mailbox, what="the mail")
        assert len(server.heard("PASS secret")) == 3
        assert ferry.account("acc")["state"] == "ok"


def test_login_delay_is_kept_between_sessions(make_ferry):
    """More is there than one session takes: the next one waits as long as the server wants."""
    with ScriptedSmtp() as smtp, ScriptedPop3(MESSAGES, {}, (*UIDL, "LOGIN-DELAY 3")) as server:
        ferry = make_ferry(smtp.port, fetch={"messages_per_session": 1})
        account(ferry, server)
        polled(ferry)
        assert len(server.conversations) <= 2
        wait_for(lambda: not server.mailbox, 30, "all mail")
        assert not ferry.events("fetcherd", "poll-failed")


def test_few_sessions_with_one_server(ferry):
    """Servers count connections from one address: four at once, the rest wait their turn."""
    with ScriptedPop3(MESSAGES, {"GREETING": HANG}) as server, ScriptedPop3(MESSAGES) as other:
        for n in range(10):
            account(ferry, server, f"one{n}")
        account(ferry, other, "other")
        overdue(ferry)
        wait_for(lambda: len(server.conversations) == 4, what="four sessions")
        assert ferry.fetch("other") == 0
        assert not other.mailbox
        assert len(server.conversations) == 4


def test_transcript_of_a_fetch_by_hand(ferry):
    """What was said, without password and without mail; only its owner may read it."""
    with ScriptedPop3(MESSAGES, {"RETR 2": times(1, b"-ERR broken here\r\n")}) as server:
        account(ferry, server)
        polled(ferry)
        path = ferry.state / "sessions" / "acc.log"
        assert not path.exists()  # that was none by hand
        server.mailbox["uid-9"] = normalised(simple("private", body="private words\n"))
        assert ferry.fetch("acc") == 0
        text = path.read_text()
        assert path.stat().st_mode & 0o777 == 0o600
        for expected in ("C: PASS ****", "C: UIDL", "S: 1 uid-", "C: RETR 1", "octets", "C: QUIT"):
            assert expected in text
        assert "secret" not in text and "private" not in text and "C: USER user" not in text
        server.script["PASS*"] = b"-ERR no\r\n"
        assert str(path) in ferry.ctl("fetch", "acc", "--wait")[1]
        ferry.ctl_ok("account", "remove", "acc")
        assert not path.exists()

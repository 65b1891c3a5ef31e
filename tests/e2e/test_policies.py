"""What is deleted and when, what is fetched at all, and to whom it goes."""

import sqlite3
from contextlib import closing

import pytest

from tests.harness.mail import normalised, simple
from tests.harness.process import free_port, wait_for
from tests.harness.scripted import CLOSE, Numbered, ScriptedPop3, ScriptedSmtp

DAY = 86_400_000
MESSAGES = [normalised(simple(f"number {n}", body=f"{n}\n" * 20)) for n in range(1, 4)]
NEW = normalised(simple("new"))


@pytest.fixture
def smtp():
    with ScriptedSmtp() as server:
        yield server


@pytest.fixture
def server():
    with ScriptedPop3(MESSAGES) as server:
        yield server


def begin(make_ferry, port, server, more=(), to="acc@corp.example", **fetch):
    ferry = make_ferry(port, fetch=fetch, relay={"retry_min": "1s", "retry_max": "1s"})
    ferry.add_account("acc", server.port, "user", "secret", to, more=more)
    assert ferry.fetch("acc") == 0
    return ferry


def arrived(smtp):
    return sorted(message for _, _, message in smtp.accepted)


def age(ferry, days):
    """All that the ledger knows of messages happened `days` earlier."""
    ferry.stop("fetcherd")
    with closing(sqlite3.connect(ferry.state / "fetcherd.db")) as db, db:
        db.execute(
            "UPDATE message SET changed = changed - ?1, settled = settled - ?1", (days * DAY,)
        )
    ferry.start("fetcherd")


def test_delivered(make_ferry, smtp, server):
    ferry = begin(make_ferry, smtp.port, server, delete="delivered")
    assert arrived(smtp) == sorted(MESSAGES)
    assert not server.mailbox
    assert ferry.account("acc")["on_server"] == 0


def test_delivered_waits_for_delivery(make_ferry, server):
    port = free_port()
    ferry = begin(make_ferry, port, server, delete="delivered")
    assert len(server.mailbox) == 3
    with ScriptedSmtp(port=port) as smtp:
        wait_for(lambda: len(smtp.accepted) == 3, what="delivery")
        wait_for(lambda: ferry.fetch("acc") == 0 and not server.mailbox, what="the deletion")


def test_spooled(make_ferry, server):
    """Not even an SMTP server is needed: what lies in the spool is deleted."""
    ferry = begin(make_ferry, free_port(), server, delete="spooled")
    assert not server.mailbox
    wait_for(lambda: ferry.counts()["outgoing"] == 3, what="three files in outgoing/")


def test_spooled_and_damaged(make_ferry, server):
    """The only copy left is ours, and our disk damages it: that is told, and names the case."""
    port = free_port()
    server.script["QUIT"] = CLOSE
    ferry = begin(make_ferry, port, server, delete="spooled")
    wait_for(lambda: ferry.counts()["outgoing"] == 3, what="three files in outgoing/")
    server.script = {}
    ferry.fetch("acc")
    assert not server.mailbox
    victim = sorted((ferry.spool / "outgoing").glob("*.eml"))[0]
    victim.write_bytes(victim.read_bytes()[:-2] + b"??")
    with ScriptedSmtp(port=port) as smtp:
        wait_for(lambda: len(smtp.accepted) == 2, what="delivery of the others")
        wait_for(lambda: ferry.events("fetcherd", "message-damaged"), what="the alarm")
        assert "delete = spooled" in ferry.events("fetcherd", "message-damaged")[0]["next"]
        assert len(ferry.badmail()) == 1


def test_never(make_ferry, smtp, server):
    ferry = begin(make_ferry, smtp.port, server, delete="never")
    server.mailbox["uid-9"] = NEW
    ferry.fetch("acc")
    ferry.drain()
    age(ferry, 400)
    ferry.fetch("acc")
    ferry.drain()
    assert arrived(smtp) == sorted([*MESSAGES, NEW])
    assert len(server.mailbox) == 4
    assert not server.heard("DELE*")


def test_days_after_delivery(make_ferry, smtp, server):
    ferry = begin(make_ferry, smtp.port, server, delete="30d")
    ferry.drain()
    ferry.fetch("acc")  # it has asked what became of them
    age(ferry, 29)
    server.mailbox["uid-9"] = NEW
    ferry.fetch("acc")
    ferry.drain()
    assert len(server.mailbox) == 4
    age(ferry, 2)
    ferry.fetch("acc")
    assert list(server.mailbox) == ["uid-9"]
    assert arrived(smtp) == sorted([*MESSAGES, NEW])


def test_days_after_delivery_without_uidl(make_ferry, smtp):
    script = {"UIDL*": b"-ERR unknown\r\n"}
    with ScriptedPop3(MESSAGES, script, ("USER",)) as server:
        ferry = begin(make_ferry, smtp.port, server, delete="30d")
        ferry.drain()
        ferry.fetch("acc")
        assert len(server.mailbox) == 3
        age(ferry, 31)
        ferry.fetch("acc")
        ferry.drain()
        assert not server.mailbox
        assert arrived(smtp) == sorted(MESSAGES)


def test_session_cap_takes_the_oldest_first(make_ferry, smtp, server):
    ferry = begin(make_ferry, smtp.port, server, messages_per_session=1)
    ferry.drain()
    logins = [one.lines for one in server.conversations]
    order = [line for lines in logins for line in lines if line.startswith("RETR")]
    assert arrived(smtp) == sorted(MESSAGES)
    assert len(order) == 3 and len(logins) >= 3
    assert all(sum(line.startswith("RETR") for line in lines) <= 1 for lines in logins)


def test_baseline(make_ferry, smtp, server):
    """What is there when the account is made stays there, for good; what comes later is fetched."""
    ferry = begin(make_ferry, smtp.port, server, more=["--baseline"])
    assert not server.heard("RETR*")
    server.mailbox["uid-9"] = NEW
    ferry.fetch("acc")
    ferry.drain()
    age(ferry, 400)
    ferry.fetch("acc")
    assert arrived(smtp) == [NEW]
    assert sorted(server.mailbox) == ["uid-1", "uid-2", "uid-3"]
    assert len(ferry.events("fetcherd", "baseline-taken")) == 1


def test_baseline_outlives_a_bad_listing(make_ferry, smtp, server):
    """A UIDL that one listing lacks, or has mangled, does not make old mail new; nor does another
    port of the server."""
    ferry = begin(make_ferry, smtp.port, server, more=["--baseline"])
    for lines in (b"1 uid-1\r\n3 uid-3\r\n", b"1 uid-1\r\n2 \r\n3 uid-3\r\n", b""):
        server.script["UIDL"] = b"+OK\r\n" + lines + b".\r\n"
        ferry.fetch("acc")
    server.script = {}
    with ScriptedPop3() as other:
        other.mailbox = server.mailbox
        ferry.ctl_ok("account", "set", "acc", "--port", str(other.port))
        other.mailbox["uid-9"] = NEW
        assert ferry.fetch("acc") == 0
        ferry.drain()
        assert not server.heard("RETR*") and len(other.heard("RETR*")) == 1
        assert arrived(smtp) == [NEW]
        assert sorted(other.mailbox) == ["uid-1", "uid-2", "uid-3"]


@pytest.mark.parametrize("script", [{"UIDL*": b"-ERR unknown\r\n"}, {}], ids=["none", "numbers"])
def test_baseline_needs_uidl(make_ferry, smtp, script):
    """Without UIDLs it can't be done; that is said, and nothing is fetched or deleted."""
    with Numbered(MESSAGES, script, ("USER",)) as server:
        ferry = make_ferry(smtp.port)
        more = ["--baseline"]
        ferry.add_account("acc", server.port, "user", "secret", "acc@corp.example", more=more)
        assert ferry.fetch("acc") == 1
        assert "--baseline" in ferry.account("acc")["error"]
        assert len(server.mailbox) == 3 and not smtp.accepted


def test_several_recipients(make_ferry, smtp, server):
    """Each message goes once to the server, with every address in its envelope."""
    others = ["--deliver-to", "bob@corp.example", "--deliver-to", "carol@corp.example"]
    begin(make_ferry, smtp.port, server, more=others).drain()
    everybody = ["acc@corp.example", "bob@corp.example", "carol@corp.example"]
    assert [to for _, to, _ in smtp.accepted] == [everybody] * 3
    assert not server.mailbox


def test_one_of_several_recipients_is_refused(make_ferry, server):
    """The others get it; the refusal is a person's to read, and the mailbox is emptied."""
    with ScriptedSmtp({"RCPT TO:<bob@*": b"550 5.1.1 who\r\n"}) as smtp:
        ferry = begin(make_ferry, smtp.port, server, more=["--deliver-to", "bob@corp.example"])
        held = ferry.wait_badmail(3)
        assert all(one["recipients"] == ["bob@corp.example"] for one in held)
        assert [to for _, to, _ in smtp.accepted] == [["acc@corp.example"]] * 3
        wait_for(lambda: ferry.fetch("acc") == 0 and not server.mailbox, what="the deletion")

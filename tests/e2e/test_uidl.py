"""Which message a UIDL stands for: other clients delete, servers give UIDLs to other mail, number them,
lose them, or list what is not so.  Nothing is deleted that did not arrive, nothing arrives twice."""

import sqlite3
from contextlib import closing

import pytest

from tests.harness.mail import normalised, simple
from tests.harness.process import free_port, wait_for
from tests.harness.scripted import CLOSE, Keeping, Numbered, ScriptedPop3, ScriptedSmtp, times


def mail(n, lines=20):
    return normalised(simple(f"number {n}", body=f"{n}\n" * lines))


def twin(n):
    return normalised(simple(f"twin {n}", body=f"{n}\n"))


@pytest.fixture
def smtp():
    with ScriptedSmtp() as server:
        yield server


def begin(make_ferry, port, server, more=(), ok=True, **fetch):
    fetch.setdefault("timeout", "2s")
    ferry = make_ferry(port, fetch=fetch, relay={"retry_min": "1s", "retry_max": "1s"})
    ferry.add_account("acc", server.port, "user", "secret", "acc@corp.example", more=more)
    assert ferry.fetch("acc") == 0 or not ok
    return ferry


def arrived(smtp):
    return sorted(message for _, _, message in smtp.accepted)


def test_one_that_moved_fails_where_it_was(make_ferry, smtp):
    """Message 1 is found to be the one that was 2, and then RETR 2 fails."""
    m = [mail(n, 10 + n) for n in range(1, 5)]
    with Numbered(m[:3]) as server:
        ferry = begin(make_ferry, smtp.port, server, delete="never")
        ferry.drain()
        del server.mailbox["uid-1"]
        server.script["RETR 2"] = times(1, b"-ERR not now\r\n")
        ferry.fetch("acc")
        assert ferry.running("fetcherd")
        server.mailbox["uid-4"] = m[3]
        ferry.fetch("acc")
        ferry.drain()
        assert arrived(smtp) == sorted(m)


def test_swapped_uidls(make_ferry, smtp):
    m = [mail(n, 10 + n) for n in range(1, 3)]
    with ScriptedPop3(m) as server:
        ferry = begin(make_ferry, smtp.port, server, delete="never")
        ferry.drain()
        server.mailbox = {"uid-1": m[1], "uid-2": m[0]}
        server.script["RETR 2"] = times(1, b"-ERR not now\r\n")
        ferry.fetch("acc")
        assert ferry.running("fetcherd")


def test_nameless_starve(make_ferry, smtp):
    """No UIDL, mail stays, another client deletes: what is new is reached all the same."""
    m = [mail(n, 10 + n) for n in range(1, 9)]
    with ScriptedPop3(m[:5], {"UIDL*": b"-ERR unknown\r\n"}, ("USER",)) as server:
        ferry = begin(make_ferry, smtp.port, server, delete="never", messages_per_session=3)
        for _ in range(3):
            ferry.fetch("acc")
        ferry.drain()
        assert arrived(smtp) == sorted(m[:5])
        for n in (1, 2):
            del server.mailbox[f"uid-{n}"]
        for n in (6, 7, 8):
            server.mailbox[f"uid-{n}"] = m[n - 1]
        wait_for(lambda: ferry.fetch("acc") == 0 and len(arrived(smtp)) == 8, what="all of it")
        assert arrived(smtp) == sorted(m)


def test_numbers_with_a_broken_line(make_ferry):
    """Numbers for UIDLs; one UIDL line is missing once: the rest are numbers all the same."""
    port = free_port()
    m = [twin(n) for n in range(1, 5)]
    with Numbered(m[:3]) as server:
        ferry = make_ferry(
            port, fetch={"timeout": "2s"}, relay={"retry_min": "1s", "retry_max": "1s"}
        )
        ferry.add_account("acc", server.port, "user", "secret", "acc@corp.example")
        ferry.ctl_ok("fetch", "acc")
        wait_for(lambda: ferry.counts()["outgoing"] == 3, what="three files")
        wait_for(lambda: ferry.account("acc")["state"] != "polling", what="the end of the poll")
        with ScriptedSmtp(port=port) as smtp:
            wait_for(lambda: len(smtp.accepted) == 3, what="delivery")
            ferry.drain()
            del server.mailbox["uid-1"]
            server.mailbox["uid-4"] = m[3]
            server.script["UIDL"] = times(1, b"+OK\r\n2 2\r\n3 3\r\n.\r\n")
            for _ in range(3):
                ferry.fetch("acc")
                ferry.drain()
            left = list(server.mailbox.values())
            assert [
                x for x in m if x not in arrived(smtp) and x not in left
            ] == [], "deleted unseen"


def test_list_lacks_the_size(make_ferry):
    """A UIDL is reused, and LIST names no size for it."""
    port = free_port()
    m = [mail(n, 10 + n) for n in range(1, 3)]
    with ScriptedPop3(m[:1]) as server:
        ferry = make_ferry(
            port, fetch={"timeout": "2s"}, relay={"retry_min": "1s", "retry_max": "1s"}
        )
        ferry.add_account("acc", server.port, "user", "secret", "acc@corp.example")
        ferry.ctl_ok("fetch", "acc")
        wait_for(lambda: ferry.counts()["outgoing"] == 1, what="a file")
        wait_for(lambda: ferry.account("acc")["state"] != "polling", what="the end of the poll")
        with ScriptedSmtp(port=port) as smtp:
            wait_for(lambda: len(smtp.accepted) == 1, what="delivery")
            ferry.drain()
            server.mailbox["uid-1"] = m[1]
            server.script["LIST"] = b"-ERR not now\r\n"
            for _ in range(3):
                ferry.fetch("acc")
                ferry.drain()
            left = list(server.mailbox.values())
            assert [
                x for x in m if x not in arrived(smtp) and x not in left
            ] == [], "deleted unseen"


def test_baseline_size_changes(make_ferry, smtp):
    """Exchange: the size by LIST changes when a mail has been retrieved by anybody."""
    m = [mail(n, 10 + n) for n in range(1, 3)]
    with ScriptedPop3(m, {"LIST": times(1, b"+OK\r\n1 200\r\n2 300\r\n.\r\n")}) as server:
        ferry = begin(make_ferry, smtp.port, server, more=["--baseline"])
        for _ in range(2):
            ferry.fetch("acc")
        ferry.drain()
        assert not server.heard("RETR*") and not server.heard("DELE*")
        assert arrived(smtp) == [] and len(server.mailbox) == 2


def test_baseline_of_half_a_listing(make_ferry, smtp):
    """STAT counts two, UIDL lacks one, LIST is refused: the baseline is not complete."""
    m = [mail(n, 10 + n) for n in range(1, 3)]
    script = {"UIDL": times(1, b"+OK\r\n1 uid-1\r\n.\r\n"), "LIST": times(1, b"-ERR no\r\n")}
    with ScriptedPop3(m, script) as server:
        ferry = begin(make_ferry, smtp.port, server, more=["--baseline"], ok=False)
        for _ in range(2):
            ferry.fetch("acc")
        ferry.drain()
        assert arrived(smtp) == [] and len(server.mailbox) == 2


def test_overlong_uidl_without_list(make_ferry, smtp):
    m = [mail(n, 10 + n) for n in range(1, 3)]
    with ScriptedPop3(m, {"LIST": b"-ERR no\r\n"}) as server:
        server.mailbox = {"u" * 300: m[0], "ok": m[1]}
        ferry = begin(make_ferry, smtp.port, server)
        for _ in range(3):
            ferry.fetch("acc")
        ferry.drain()
        assert arrived(smtp) == sorted(m)


def test_too_large_under_reused_uidl(make_ferry, smtp):
    m = [mail(1), mail(2, 100000)]
    with ScriptedPop3(m[:1]) as server:
        ferry = begin(make_ferry, smtp.port, server, message_size="100K")
        wait_for(lambda: ferry.fetch("acc") == 0 and not server.mailbox, what="empty")
        server.mailbox = {"uid-1": m[1]}
        for _ in range(2):
            ferry.fetch("acc")
        assert list(server.mailbox) == ["uid-1"]
        assert ferry.account("acc")["too_large"] == 1
        assert ferry.events("fetcherd", "message-too-large")


def scheduled(ferry, server):
    """A poll by the schedule."""
    before = len(server.conversations)
    ferry.stop("fetcherd")
    with closing(sqlite3.connect(ferry.state / "fetcherd.db")) as db, db:
        db.execute("UPDATE account SET next_poll = 0, failures = 0")
    ferry.start("fetcherd")
    wait_for(lambda: len(server.conversations) > before, what="a poll")
    wait_for(lambda: ferry.account("acc")["state"] != "polling", what="its end")


@pytest.mark.parametrize("kind", [ScriptedPop3, Numbered])
def test_what_fails_under_a_used_uidl_stops_nothing(make_ferry, smtp, kind):
    """A deleted message's UIDL stands for one that breaks each session: the others get their turns."""
    m = [mail(n, 10 + n) for n in range(1, 4)]
    with kind(m[:1]) as server:
        ferry = begin(make_ferry, smtp.port, server, delete="delivered")
        wait_for(lambda: ferry.fetch("acc") == 0 and not server.mailbox, what="empty")
        ferry.drain()
        server.mailbox = {"uid-1": m[1], "uid-2": m[2]}
        server.script["RETR 1"] = CLOSE
        server.script["RETR 2"] = times(1, b"-ERR not now\r\n")
        for _ in range(8):
            scheduled(ferry, server)
        ferry.drain()
        assert arrived(smtp) == sorted([m[0], m[2]])


class Padded(Numbered):
    def do_uidl(self, talk, rest, listing, deleted):
        names = iter(f"{n:08d}" for n in range(1, len(listing) + 1))
        self._listing(talk, rest, listing, deleted, lambda *_: next(names))


def test_padded_numbers_of_equal_size(make_ferry):
    """00000001 for 1, and mail of one size."""
    port = free_port()
    ferry = make_ferry(port, fetch={"timeout": "2s"}, relay={"retry_min": "1s", "retry_max": "1s"})
    twins = [twin(n) for n in range(1, 4)]
    with Padded(twins[:2]) as server:
        ferry.add_account("acc", server.port, "user", "secret", "acc@corp.example")
        ferry.ctl_ok("fetch", "acc")
        wait_for(lambda: ferry.counts()["outgoing"] == 2, what="two files")
        wait_for(lambda: ferry.account("acc")["state"] != "polling", what="the end of the poll")
        del server.mailbox["uid-1"]
        server.mailbox["uid-3"] = twins[2]
        with ScriptedSmtp(port=port) as smtp:
            wait_for(lambda: len(smtp.accepted) == 2, what="delivery")
            for _ in range(3):
                ferry.fetch("acc")
                ferry.drain()
            left = list(server.mailbox.values())
            assert [
                x for x in twins if x not in arrived(smtp) and x not in left
            ] == [], "deleted unseen"


def test_kept_and_then_without_uidl(make_ferry, smtp):
    """What was deleted under a UIDL, and kept, is listed without one: it is known by its content."""
    m = [mail(n, 10 + n) for n in range(1, 3)]
    with Keeping(m, {}, ("USER",)) as server:
        ferry = begin(make_ferry, smtp.port, server, delete="delivered")
        ferry.drain()
        ferry.fetch("acc")
        server.script["UIDL*"] = b"-ERR unknown\r\n"
        ferry.fetch("acc")
        ferry.drain()
        assert arrived(smtp) == sorted(m)

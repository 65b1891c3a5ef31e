"""Whatever a server does, other mail goes on, and nothing is deleted that was not fetched."""

import time

from tests.harness.mail import normalised, simple
from tests.harness.scripted import CLOSE, ScriptedPop3, ScriptedSmtp

MAIL = [normalised(simple(f"number {n}", body=f"{n}\n" * 20)) for n in range(1, 13)]


def account(ferry, server, name="acc"):
    ferry.add_account(name, server.port, "user", "secret", f"{name}@corp.example")


def accepted(smtp):
    return sorted(message for _, _, message in smtp.accepted)


class Keeps(ScriptedPop3):
    """Says +OK to QUIT and keeps everything, as some providers do when told so."""

    def do_quit(self, talk, *_):
        talk.send(b"+OK bye\r\n")
        return True


def test_a_server_that_keeps_deleted_mail(make_ferry):
    with ScriptedSmtp() as smtp, Keeps(MAIL) as server:
        ferry = make_ferry(smtp.port, fetch={"messages_per_session": 4})
        account(ferry, server)
        for _ in range(3):
            assert ferry.fetch("acc") == 0
        assert accepted(smtp) == sorted(MAIL)
        sessions = len(server.conversations)
        time.sleep(2)
        assert len(server.conversations) == sessions  # no hot loop
        retrieved = len(server.heard("RETR*"))
        for _ in range(3):
            assert ferry.fetch("acc") == 0
        assert accepted(smtp) == sorted(MAIL)
        assert len(server.heard("RETR*")) - retrieved <= 3 * 4  # by hand it looks again, four at a time


def test_a_poison_message_is_charged_itself(make_ferry):
    """Message 2 is answered by nonsense; with pipelining that is seen when 1 has just come in."""
    messages = [MAIL[0], [b"\r\n"], MAIL[2], MAIL[3]]
    with ScriptedSmtp() as smtp, ScriptedPop3(messages) as server:
        ferry = make_ferry(smtp.port)
        account(ferry, server)
        for _ in range(8):
            ferry.fetch("acc")
        assert accepted(smtp) == sorted([MAIL[0], MAIL[2], MAIL[3]])
        assert sorted(server.mailbox) == ["uid-2"]


class BreaksAtDele(ScriptedPop3):
    """Answers DELE of the first message by nonsense."""

    def do_dele(self, talk, rest, listing, deleted):
        if listing[int(rest) - 1][0] == "uid-1":
            talk.send(b"\r\n")
        else:
            super().do_dele(talk, rest, listing, deleted)


def test_a_dele_that_breaks_the_session(make_ferry):
    with ScriptedSmtp() as smtp, BreaksAtDele(MAIL[:3]) as server:
        ferry = make_ferry(smtp.port)
        account(ferry, server)
        for _ in range(2):
            ferry.fetch("acc")
        server.mailbox["uid-new"] = MAIL[5]
        ferry.fetch("acc")
        ferry.fetch("acc")
        assert accepted(smtp) == sorted(MAIL[:3] + [MAIL[5]])
        assert len(ferry.events("fetcherd", "delete-failed")) >= 3


def test_quit_refused_is_no_hot_loop(make_ferry):
    script = {"RETR 2": b"-ERR broken\r\n", "QUIT": [b"-ERR no\r\n", CLOSE]}
    with ScriptedSmtp() as smtp, ScriptedPop3(MAIL[:3], script) as server:
        ferry = make_ferry(smtp.port)
        account(ferry, server)
        ferry.fetch("acc")
        ferry.ctl("fetch", "acc")
        time.sleep(3)
        assert len(server.conversations) < 8


def test_another_server_with_the_same_uidls(make_ferry):
    """UIDLs mean something within one mailbox only: `account set --server` must not delete unread mail."""
    with ScriptedSmtp() as smtp:
        with ScriptedPop3(MAIL[:2], {"DELE*": b"-ERR later\r\n"}) as a, ScriptedPop3(MAIL[4:6]) as b:
            ferry = make_ferry(smtp.port)
            account(ferry, a)
            ferry.fetch("acc")
            assert accepted(smtp) == sorted(MAIL[:2])
            ferry.ctl_ok("account", "set", "acc", "--server", "localhost", "--port", b.port)
            for _ in range(2):
                assert ferry.fetch("acc") == 0
            assert accepted(smtp) == sorted(MAIL[:2] + MAIL[4:6])
            assert not b.mailbox


class HangsUpAtQuit(ScriptedPop3):
    """Carries out what was deleted, but the line drops before it says so. UIDLs are the test's."""

    def __init__(self, box, **more):
        super().__init__([], **more)
        self.mailbox, self.box, self.drop = None, list(box), True

    def converse(self, talk):
        listing, deleted = list(self.box), set()
        talk.send(b"+OK ready\r\n")
        while True:
            verb, _, rest = talk.line().partition(" ")
            if verb == "QUIT":
                left = [item for at, item in enumerate(listing, 1) if at not in deleted]
                self.box = left + self.box[len(listing) :]
                if not self.drop or not deleted:
                    talk.send(b"+OK bye\r\n")
                return
            answer = getattr(self, "do_" + verb.lower(), None)
            if answer:
                answer(talk, rest, listing, deleted)
            else:
                talk.send(b"-ERR unknown\r\n")


def test_uidl_reused_after_a_quit_without_answer(make_ferry):
    with ScriptedSmtp() as smtp, HangsUpAtQuit([("1", MAIL[0])]) as server:
        ferry = make_ferry(smtp.port)
        account(ferry, server)
        ferry.fetch("acc")
        assert not server.box
        server.box, server.drop = [("1", MAIL[5])], False
        for _ in range(2):
            assert ferry.fetch("acc") == 0
        assert accepted(smtp) == sorted([MAIL[0], MAIL[5]])
        assert not server.box


def test_shared_uidl_after_a_quit_without_answer(make_ferry):
    with ScriptedSmtp() as smtp:
        with HangsUpAtQuit([("twin", MAIL[0]), ("twin", MAIL[5])]) as server:
            ferry = make_ferry(smtp.port)
            account(ferry, server)
            ferry.fetch("acc")
            server.drop = False
            for _ in range(3):
                assert ferry.fetch("acc") == 0
            assert accepted(smtp) == sorted([MAIL[0], MAIL[5]])
            assert not server.box


def test_the_same_server_under_another_name(make_ferry):
    """It is all fetched again, recognised by its content, and delivered once."""
    with ScriptedSmtp() as smtp, ScriptedPop3(MAIL[:3]) as server:
        ferry = make_ferry(smtp.port, fetch={"delete": "never"})
        account(ferry, server)
        assert ferry.fetch("acc") == 0
        ferry.ctl_ok("account", "set", "acc", "--server", "localhost")
        for _ in range(2):
            assert ferry.fetch("acc") == 0
        assert len(server.heard("RETR*")) == 6
        assert accepted(smtp) == sorted(MAIL[:3])
        assert len(server.mailbox) == 3

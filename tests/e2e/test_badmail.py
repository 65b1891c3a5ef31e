"""Quarantine when things are odd: damaged files, a crowd of recipients."""

import os
import sqlite3
import subprocess
from contextlib import closing

from tests.harness.mail import normalised, simple
from tests.harness.popferry import BIN, spool_message
from tests.harness.process import wait_for
from tests.harness.scripted import ScriptedPop3, ScriptedSmtp

REFUSED = b"554 5.7.1 no\r\n"


def fetch_one(ferry, server, name="acc"):
    ferry.add_account(name, server.port, "user", "secret", f"{name}@corp.example")
    ferry.fetch(name)


def test_replay_of_a_damaged_file(make_ferry):
    """It fails, says why, and the message stays in quarantine."""
    message = normalised(simple("one"))
    with ScriptedSmtp({".": REFUSED}) as smtp, ScriptedPop3([message]) as server:
        ferry = make_ferry(smtp.port)
        fetch_one(ferry, server)
        [row] = ferry.wait_badmail(1)
        [path] = ferry.files("badmail")
        whole = path.read_bytes()
        path.write_bytes(whole[:-5] + b"XXX\r\n")
        code, out, err = ferry.ctl("badmail", "replay", row["id"])
        assert code == 1 and row["id"] in err and not out.strip()
        assert ferry.badmail() == [row]
        assert ferry.files("badmail") == [path]
        assert not list((ferry.spool / "pickup").iterdir())
        assert ferry.status()["hygiene"]["held"] == 1

        path.write_bytes(whole)
        smtp.script.clear()
        ferry.ctl_ok("badmail", "replay", row["id"])
        wait_for(lambda: [m for *_, m in smtp.accepted] == [message], what="the message")


def test_a_thousand_recipients_hide_no_other_message(make_ferry):
    with ScriptedSmtp({"MAIL*": b"451 4.2.0 later\r\n"}) as smtp:
        ferry = make_ferry(smtp.port, relay={"retry_min": "1h", "retry_max": "1h"})
        many = "".join(f"X-Receiver: <{'u' * 58}{n}@corp.example>\r\n" for n in range(1000))
        one = "X-Receiver: <one@corp.example>\r\n"
        for name, receivers in (("big", many), ("small", one)):
            draft = ferry.home / f"{name}.eml"
            draft.write_text(f"X-Sender: <a@b.example>\r\n{receivers}Subject: {name}\r\n\r\nhi\r\n")
            os.rename(draft, ferry.spool / "pickup" / f"{name}.eml")
        tried = lambda: len([one for one in ferry.queue() if one["attempts"]]) == 2  # noqa: E731
        wait_for(tried, what="both to be put off")
        assert {one["recipients_total"] for one in ferry.queue()} == {1000, 1}
        [big] = [one for one in ferry.queue() if one["recipients_total"] == 1000]
        assert len(big["recipients"]) == 50
        assert "+950" in ferry.ctl_ok("queue", "show", big["id"])
        assert "+999" in ferry.ctl_ok("queue")

        smtp.script["MAIL*"] = b"550 5.1.1 no\r\n"
        ferry.ctl_ok("retry", "--all")
        rows = ferry.wait_badmail(2)
        assert {one["recipients_total"] for one in rows} == {1000, 1}
        assert {one["subject"] for one in rows} == {"big", "small"}
        assert "+950" in ferry.ctl_ok("badmail", "show", big["id"])


def test_told_only_when_it_lies_there_for_good(make_ferry):
    """A row without its file in badmail/: fetcherd keeps the server's copy; a start mends it."""
    message = normalised(simple("one"))
    with ScriptedSmtp({".": REFUSED}) as smtp, ScriptedPop3([message]) as server:
        ferry = make_ferry(smtp.port, fetch={"delete": "never"})
        fetch_one(ferry, server)
        [row] = ferry.wait_badmail(1)
        [path] = ferry.files("badmail")
        ferry.stop("hygiene")
        # as a crash before the sync leaves it
        with closing(sqlite3.connect(ferry.state / "hygiene.db")) as db, db:
            assert db.execute("SELECT entered FROM badmail").fetchall() == [(1,)]
            db.execute("UPDATE badmail SET entered = 0")
        ask = '{"cmd":"outcomes","ids":["%s"]}' % row["id"]
        done = subprocess.run(
            [BIN / "hygiene", "-c", ferry.conf, "-1"],
            input=ask,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert '"pending"' in done.stdout
        ferry.start("hygiene")
        assert ferry.badmail() == [row]
        assert spool_message(path)[1] == message


def test_a_copy_damaged_on_our_disk_is_fetched_again(make_ferry):
    """It is kept in badmail for what it is worth; the server's copy is the true one, and is not deleted for it."""
    message = normalised(simple("precious", body="all of it\n" * 1000))
    with ScriptedSmtp() as smtp, ScriptedPop3([message]) as server:
        ferry = make_ferry(smtp.port)
        ferry.stop("relayd")
        fetch_one(ferry, server)
        [path] = wait_for(lambda: ferry.files("outgoing"), 15, "a file in outgoing/")
        path.write_bytes(path.read_bytes()[:-5000])
        ferry.start("relayd")
        [row] = ferry.wait_badmail(1)
        assert row["decided_by"] == "form:damaged" and "damaged" in row["reason"]
        shown = ferry.ctl_ok("badmail", "show", row["id"])
        assert "fetched again" in shown and "badmail delete" in shown and "badmail replay" not in shown
        wait_for(lambda: ferry.events("fetcherd", "message-damaged"), 15, "message-damaged")
        assert list(server.mailbox) == ["uid-1"]
        ferry.fetch("acc")
        wait_for(lambda: smtp.accepted, 15, "delivery")
        assert [m for *_, m in smtp.accepted] == [message]

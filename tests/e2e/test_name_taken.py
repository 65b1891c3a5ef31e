"""What people put into the spool by hand under a name that is taken."""

import hashlib
import os

import pytest

from tests.harness.mail import as_delivered, simple
from tests.harness.popferry import spool_message
from tests.harness.process import wait_for
from tests.harness.scripted import ScriptedSmtp


def put(ferry, directory, name, raw):
    """The whole file at once, as mv does, with the mode that the daemons give."""
    at = ferry.spool / f".{name}.part"
    at.write_bytes(raw)
    at.chmod(0o640)
    os.rename(at, ferry.spool / directory / name)


def another(raw, old, new):
    """The spool file with other bytes of the same number; its preface is true."""
    head, sep, body = raw.partition(b"blake2b=")
    digest, rest = body[:64], body[64:]
    end = rest.index(b"\r\n") + 2
    message = rest[end:].replace(old, new)
    assert len(message) == len(rest[end:]) and message != rest[end:]
    assert hashlib.blake2b(rest[end:], digest_size=32).hexdigest().encode() == digest
    changed = hashlib.blake2b(message, digest_size=32).hexdigest().encode()
    return head + sep + changed + rest[:end] + message


@pytest.fixture
def refused(ferry, box, smtp):
    rule = smtp.refuse("554 5.7.1 we know this trick", sender="bad@")
    box.drop(simple("tricky", sender="bad@origin.example", body="the first\n"))
    assert ferry.fetch(box.name) == 0
    [row] = ferry.wait_badmail(1)
    smtp.pardon(rule)
    return row


@pytest.mark.parametrize("directory", ["incoming", "rejected"])
def test_a_name_that_lies_in_badmail(ferry, box, smtp, refused, directory):
    [path] = ferry.files("badmail")
    first = path.read_bytes()
    second = another(first, b"the first", b"the other")
    put(ferry, directory, path.name, second)

    box.drop(simple("behind it"))
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 1)
    rows = ferry.wait_badmail(2)
    assert path.read_bytes() == first
    [kept] = [one for one in ferry.files("badmail") if one != path]
    assert spool_message(kept)[1] == spool_message(path)[1].replace(b"the first", b"the other")
    assert ferry.in_flight() == 0

    [row] = [one for one in rows if one["id"] != refused["id"]]
    assert row["id"] == kept.stem and row["decided_by"] == "name-taken"
    assert f"badmail/{path.name}" in row["reason"] and row["subject"] == "tricky"
    [event] = ferry.events("hygiene", "spool-name-taken")
    assert event["level"] == "alarm"
    assert (event["id"], event["new_id"]) == (refused["id"], kept.stem)
    # what had passed before goes by way of relayd, which has refused it
    assert (event["from"], event["to"]) == ("rejected", "badmail")

    # both can be had, also behind a restart
    ferry.restart("hygiene")
    taken = ferry.ctl_json("badmail", "list", "--decided-by", "name-taken")
    assert [one["id"] for one in taken] == [kept.stem]
    assert len(ferry.badmail()) == 2
    assert "the other" in ferry.ctl_ok("badmail", "show", kept.stem)
    ferry.ctl_ok("badmail", "replay", kept.stem, refused["id"])
    smtp.wait_count(box.name, 3)
    smtp.settle()
    want = [box.sent[0], box.sent[0].replace(b"the first", b"the other"), box.sent[1]]
    assert sorted(box.arrived()) == sorted(map(as_delivered, want))
    wait_for(lambda: ferry.badmail() == [], what="an empty badmail list")


def test_the_same_file_again(ferry, box, smtp, refused):
    [path] = ferry.files("badmail")
    put(ferry, "rejected", path.name, path.read_bytes())
    wait_for(lambda: ferry.in_flight() == 0, what="rejected/ to be empty")
    assert ferry.badmail() == [refused]
    assert ferry.files("badmail") == [path]
    assert not ferry.events("hygiene", "spool-name-taken")


def test_a_name_that_lies_in_outgoing(ferry, box, smtp):
    ferry.stop("relayd")
    box.drop(simple("good", body="the first\n"))
    assert ferry.fetch(box.name) == 0
    wait_for(lambda: ferry.counts()["outgoing"] == 1, what="a file in outgoing/")
    [path] = ferry.files("outgoing")
    put(ferry, "incoming", path.name, another(path.read_bytes(), b"the first", b"the other"))
    [row] = ferry.wait_badmail(1)
    assert row["decided_by"] == "name-taken" and f"outgoing/{path.name}" in row["reason"]
    ferry.start("relayd")
    smtp.wait_count(box.name, 1)
    assert box.arrived() == [as_delivered(box.sent[0])]


def test_a_name_that_lies_in_rejected(ferry, box, smtp):
    """relayd leaves its message where it is, until hygiene has taken the other away."""
    smtp.refuse("554 5.7.1 we know this trick", sender="bad@")
    ferry.stop("relayd")
    box.drop(simple("tricky", sender="bad@origin.example", body="the first\n"))
    assert ferry.fetch(box.name) == 0
    wait_for(lambda: ferry.counts()["outgoing"] == 1, what="a file in outgoing/")
    [path] = ferry.files("outgoing")
    ferry.stop("hygiene")
    put(ferry, "rejected", path.name, another(path.read_bytes(), b"the first", b"the other"))
    ferry.start("relayd")
    [event] = wait_for(lambda: ferry.events("relayd", "spool-name-taken"), what="an alarm")
    assert event["id"] == path.stem and path.exists()
    ferry.start("hygiene")
    wait_for(lambda: ferry.counts()["rejected"] == 0, what="rejected/ to be empty")
    box.drop(simple("behind it"))
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 1)
    ferry.wait_badmail(2)
    messages = [spool_message(one)[1] for one in ferry.files("badmail")]
    assert sorted(b"the first" in one for one in messages) == [False, True]
    assert len(ferry.events("relayd", "spool-name-taken")) == 1


@pytest.mark.parametrize("restart", [False, True])
def test_words_of_relayd_go_with_what_it_refused(make_ferry, restart):
    """... for one of two; the other file of its id is anybody's."""
    with ScriptedSmtp({"RCPT TO:<TWO*": b"550 5.1.1 no such user\r\n"}) as smtp:
        ferry = make_ferry(smtp.port, start=False)
        ferry.start("fetcherd", "hygiene")
        put(
            ferry,
            "pickup",
            "m.eml",
            b"X-Sender: <a@origin.example>\r\nX-Receiver: <one@corp.example>\r\n"
            b"X-Receiver: <two@corp.example>\r\n"
            b"From: a@origin.example\r\nSubject: half\r\n\r\nhello\r\n",
        )
        [path] = wait_for(lambda: ferry.files("outgoing"), what="a file in outgoing/")
        put(ferry, "badmail", path.name, b"what somebody put here\r\n")
        if restart:
            ferry.restart("hygiene")
        ferry.start("relayd")
        rows = {row["id"]: row for row in ferry.wait_badmail(2)}
        [event] = ferry.events("hygiene", "spool-name-taken")
        theirs, row = rows[path.stem], rows[event["new_id"]]
        assert (row["decided_by"], row["recipients"]) == ("relay", ["two@corp.example"])
        assert "no such user" in row["reason"] and row["subject"] == "half"
        assert theirs["subject"] == "" and "no such user" not in theirs["reason"]
        assert [accepted[1] for accepted in smtp.accepted] == [["one@corp.example"]]

        smtp.script.clear()
        ferry.ctl_ok("badmail", "replay", row["id"])
        wait_for(lambda: len(smtp.accepted) == 2, what="the replay")
        assert smtp.accepted[1][1] == ["two@corp.example"]
        wait_for(lambda: [one["id"] for one in ferry.badmail()] == [path.stem], what="one row")


def test_put_back_into_incoming(ferry, box, smtp, refused):
    """A copy that somebody had kept of what was deleted is held again, and stays so."""
    [path] = ferry.files("badmail")
    raw = path.read_bytes()
    ferry.ctl_ok("badmail", "delete", path.stem)
    assert ferry.badmail() == ferry.files("badmail") == []
    put(ferry, "incoming", path.name, raw)
    box.drop(simple("behind it"))
    assert ferry.fetch(box.name) == 0
    [row] = ferry.wait_badmail(1)
    assert (row["id"], row["reason"]) == (refused["id"], refused["reason"])
    ferry.restart("hygiene")
    assert ferry.badmail() == [row] and path.read_bytes() == raw


def test_renamed_in_badmail(ferry, box, smtp, refused):
    [path] = ferry.files("badmail")
    renamed = path.with_name("01JD0VSM7N4C2T8RZ5K3W9XQHB.eml")
    ferry.stop("hygiene")
    path.rename(renamed)
    ferry.start("hygiene")
    [row] = ferry.badmail()
    assert (row["id"], row["reason"]) == (renamed.stem, refused["reason"])
    shown = ferry.ctl_ok("badmail", "show", row["id"])
    assert "the first" in shown and "server" not in shown.lower()
    ferry.ctl_ok("badmail", "replay", row["id"])
    smtp.wait_count(box.name, 1)
    assert box.arrived() == [as_delivered(box.sent[0])]


def test_a_directory_can_be_deleted(ferry, box, smtp):
    ferry.stop("hygiene")
    path = ferry.spool / "badmail" / "01JD0VSM7N4C2T8RZ5K3W9XQHB.eml"
    (path / "x").mkdir(parents=True)
    ferry.start("hygiene")
    [row] = ferry.badmail()
    code, *text = ferry.ctl("badmail", "delete", row["id"])
    assert code != 0 and f"rm -r {path}" in "".join(text)
    (path / "x").rmdir()
    ferry.ctl_ok("badmail", "delete", row["id"])
    assert not path.exists() and ferry.badmail() == []

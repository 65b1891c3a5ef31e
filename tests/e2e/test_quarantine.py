"""What the SMTP server refuses: 5xx goes to badmail/, 4xx is tried again; nothing is bounced."""

import os

import pytest

from tests.harness.mail import assert_same, simple
from tests.harness.popferry import EXIT_FAILED, spool_message
from tests.harness.process import wait_for

REASON = "554 5.7.1 "


@pytest.fixture
def refused(ferry, box, smtp):
    """One refused message between two good ones; its line in `badmail list`."""
    rule = smtp.refuse("554 5.7.1 we know this trick", sender="bad@")
    box.drop(
        simple("first"),
        simple("tricky", sender="bad@origin.example", body="a\n.\nb"),
        simple("last"),
    )
    box.rule = rule
    assert ferry.fetch(box.name) == 0
    return ferry.wait_badmail(1)[0]


def test_5xx_goes_to_badmail_with_the_reply(ferry, box, smtp, refused):
    assert refused["account"] == box.name
    assert refused["sender"] == "bad@origin.example"
    assert refused["recipients"] == [box.address]
    assert refused["subject"] == "tricky"
    assert refused["decided_by"] == "relay"
    assert REASON in refused["reason"] and "we know this trick" in refused["reason"]
    assert refused["at"].endswith("Z")

    [path] = ferry.files("badmail")
    assert path.stem == refused["id"]
    preface, message = spool_message(path)
    assert message == box.sent[1]
    assert refused["size"] == len(message)

    shown = ferry.ctl_ok("badmail", "show", refused["id"])
    assert "we know this trick" in shown and "tricky" in shown
    assert ferry.ctl_json("badmail", "show", refused["id"])["reason"] == refused["reason"]

    # the others went through, and all three are gone from the POP3 server
    smtp.wait_count(box.name, 2)
    assert_same([box.sent[0], box.sent[2]], box.arrived())
    ferry.fetch(box.name)
    assert box.on_server() == 0
    assert ferry.status()["spool"]["badmail"] == 1


def test_no_bounce_is_ever_sent(ferry, smtp, refused):
    ferry.drain()
    smtp.settle()
    assert not [to for to in smtp.arrived() if to.startswith("bad@")]
    assert "bad@origin.example>, relay=" not in smtp.log()


def test_replay_delivers_once_the_refusal_is_lifted(ferry, box, smtp, refused):
    smtp.pardon(box.rule)
    ferry.ctl_ok("badmail", "replay", refused["id"])
    smtp.wait_count(box.name, 3)
    smtp.settle()
    assert_same(box.sent, box.arrived())
    wait_for(lambda: ferry.badmail() == [], what="an empty badmail list")
    assert ferry.files("badmail") == []
    assert "bad@origin.example" in smtp.return_paths(box.name)


def test_replay_while_still_refused_comes_back(ferry, box, smtp, refused):
    ferry.ctl_ok("badmail", "replay", refused["id"])
    wait_for(
        lambda: (rows := ferry.badmail()) and rows[0]["id"] != refused["id"],
        what="the replayed message to come back under a new id",
    )
    [row] = ferry.badmail()
    assert "we know this trick" in row["reason"]
    [path] = ferry.files("badmail")
    assert spool_message(path)[1] == box.sent[1]


def test_moving_the_file_to_pickup_is_a_replay(ferry, box, smtp, refused):
    smtp.pardon(box.rule)
    [path] = ferry.files("badmail")
    os.rename(path, ferry.spool / "pickup" / path.name)
    smtp.wait_count(box.name, 3)
    smtp.settle()
    assert_same(box.sent, box.arrived())
    assert sorted(smtp.return_paths(box.name))[0] == "bad@origin.example"
    wait_for(lambda: ferry.badmail() == [], what="an empty badmail list")


def test_delete_from_badmail(ferry, box, smtp, refused):
    ferry.ctl_ok("badmail", "delete", refused["id"])
    assert ferry.badmail() == []
    assert ferry.files("badmail") == []
    code, _, err = ferry.ctl("badmail", "replay", refused["id"])
    assert code == EXIT_FAILED and refused["id"] in err


def test_badmail_survives_restarts(ferry, box, smtp, refused):
    ferry.restart()
    assert ferry.badmail() == [refused]
    smtp.pardon(box.rule)
    ferry.ctl_ok("badmail", "replay", refused["id"])
    smtp.wait_count(box.name, 3)


def test_refusal_of_the_recipient(ferry, box, smtp):
    """A 5xx to every RCPT is a refusal of the message."""
    smtp.refuse("550 5.1.1 nobody here", at="RCPT", recipient=box.name)
    box.drop(simple("lost soul"))
    assert ferry.fetch(box.name) == 0
    [row] = ferry.wait_badmail(1)
    assert "nobody here" in row["reason"]
    ferry.fetch(box.name)
    assert box.on_server() == 0


def test_4xx_is_retried_and_delivered(make_ferry, make_box, smtp):
    ferry = make_ferry(smtp.port, relay={"retry_min": "1s", "retry_max": "2s"})
    box = make_box(ferry)
    smtp.refuse("451 4.3.0 not now", times=2, sender="slow@")
    box.drop(simple("slow", sender="slow@origin.example"), simple("quick"))
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 2)
    smtp.settle()
    assert_same(box.sent, box.arrived())
    assert len(smtp.attempts("END-OF-MESSAGE", sender="slow@")) == 3
    assert ferry.badmail() == []
    ferry.fetch(box.name)
    assert box.on_server() == 0


def test_retry_hastens(make_ferry, make_box, smtp):
    """With an hour to wait, the queue shows what happened, and `retry` does not wait."""
    ferry = make_ferry(smtp.port, relay={"retry_min": "1h", "retry_max": "2h"})
    box = make_box(ferry)
    rule = smtp.refuse("451 4.3.0 not now", sender="slow@")
    box.drop(simple("slow", sender="slow@origin.example"), simple("other"))
    ferry.fetch(box.name)
    rows = wait_for(
        lambda: [one for one in ferry.queue() if one["attempts"]], what="a deferred message"
    )
    [row] = rows
    assert row["attempts"] == 1
    assert row["sender"] == "slow@origin.example" and row["recipients"] == [box.address]
    assert row["size"] == len(box.sent[0])
    assert "not now" in row["last_reply"] and row["last_reply"].startswith("451")
    assert row["next_attempt"].endswith("Z")
    assert "not now" in ferry.ctl_ok("queue", "show", row["id"])
    smtp.wait_count(box.name, 1)
    assert box.on_server() >= 1, "what is not delivered stays on the POP3 server"

    ferry.ctl_ok("retry", row["id"])
    again = lambda: ferry.queue()[0]["attempts"] == 2  # noqa: E731
    wait_for(again, what="the second attempt")

    smtp.pardon(rule)
    ferry.ctl_ok("retry", "--all")
    smtp.wait_count(box.name, 2)
    wait_for(lambda: ferry.queue() == [], what="an empty queue")
    assert_same(box.sent, box.arrived())
    ferry.fetch(box.name)
    assert box.on_server() == 0


def test_attempts_survive_a_restart(make_ferry, make_box, smtp):
    ferry = make_ferry(smtp.port, relay={"retry_min": "1h", "retry_max": "2h"})
    box = make_box(ferry)
    smtp.refuse("451 4.3.0 not now", sender="slow@")
    box.drop(simple("slow", sender="slow@origin.example"))
    ferry.fetch(box.name)
    before = wait_for(
        lambda: [one for one in ferry.queue() if one["attempts"] == 1], what="a deferred message"
    )
    ferry.restart("relayd")
    assert ferry.queue() == before
    assert len(smtp.attempts("END-OF-MESSAGE", sender="slow@")) == 1


def test_4xx_that_never_ends_expires_into_badmail(make_ferry, make_box, smtp):
    relay = {"retry_min": "1s", "retry_max": "1s", "expire": "3s"}
    ferry = make_ferry(smtp.port, relay=relay)
    box = make_box(ferry)
    smtp.refuse("452 4.2.2 full for ever", sender="slow@")
    box.drop(simple("slow", sender="slow@origin.example"))
    ferry.fetch(box.name)
    [row] = ferry.wait_badmail(1, deadline=40)
    assert "full for ever" in row["reason"]


def test_server_away_then_back(make_ferry, make_box, smtp):
    """The SMTP server is down: mail waits in outgoing/, and goes when it is back."""
    ferry = make_ferry(smtp.port, relay={"retry_min": "1s", "retry_max": "1s"})
    box = make_box(ferry)
    smtp.down()
    try:
        box.drop(simple("one"), simple("two"))
        ferry.fetch(box.name)
        wait_for(lambda: ferry.counts()["outgoing"] == 2, what="two files in outgoing/")
        assert box.on_server() == 2
    finally:
        smtp.start()
    ferry.ctl_ok("retry", "--all")
    smtp.wait_count(box.name, 2)
    assert ferry.badmail() == []
    assert_same(box.sent, box.arrived())

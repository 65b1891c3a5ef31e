"""What people do with quarantined mail: send it on, by command and by hand, to others, many at once;
remove it; and what time removes."""

import os
import re

import pytest

from tests.harness.popferry import EXIT_FAILED, EXIT_USAGE, sleep, spool_message
from tests.harness.process import wait_for
from tests.harness.quarantine import mail
from tests.harness.terminal import on_terminal


@pytest.mark.parametrize("by", ["command", "hand"])
def test_a_persons_walk(quarantine, by):
    """Listed, read, sent on: it arrives byte for byte, and no filter is asked once more."""
    message = mail("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", body="a\n.b\n\xe4" + "x" * 70 + "\n")
    q = quarantine({"acc": [message]})
    listed = q.ferry.ctl_ok("badmail", "list")
    (id_,) = q.ids.values()
    assert id_ in listed and "Grüße" in listed and "rspamd: reject: 17.3" in listed
    shown = q.ferry.ctl_ok("badmail", "show", id_)
    assert "17.3 of 15.0" in shown and f"badmail replay {id_}" in shown
    if by == "command":
        assert id_ in q.ferry.ctl_ok("badmail", "replay", id_)
    else:
        os.rename(q.path(id_), q.ferry.spool / "pickup" / f"{id_}.eml")
    assert q.wait_arrived(1) == [("a@origin.example", ["acc@corp.example"], message)]
    wait_for(lambda: not q.ferry.badmail(), what="quarantine to be empty")
    assert len(q.filter.asked) == 1 and not q.ferry.files("badmail")
    (event,) = wait_for(lambda: q.ferry.events("hygiene", "replayed"), what="the event")
    assert event["replay_of"] == id_ and event["id"] != id_
    item = q.ferry.ctl_json("badmail", "show", id_)
    assert item["state"] == "replayed" and item["replayed_as"] == event["id"]
    assert q.subjects("--state", "replayed") == ["Grüße"]
    code, out, err = q.ferry.ctl("badmail", "replay", id_, "--dry-run")
    assert code == EXIT_FAILED and "0 messages would" in out and id_ in err


# --- to others ---


def test_replay_to_others(quarantine):
    """Its own recipients get nothing of it; an address without a domain gets ours."""
    q = quarantine({"acc": [mail("one"), mail("two")]})
    q.ferry.ctl_ok("badmail", "replay", q.ids["one"], "--to", "boss,ann@corp.example", "--to", "bob@o.example")
    ((sender, to, message),) = q.wait_arrived(1)
    assert (sender, message) == ("a@origin.example", mail("one"))
    assert to == ["boss@corp.example", "ann@corp.example", "bob@o.example"]
    (event,) = q.ferry.events("hygiene", "replay-redirected")
    assert event["replay_of"] == q.ids["one"] and event["recipients"] == "3"
    assert [row["subject"] for row in q.ferry.badmail()] == ["two"]


@pytest.mark.parametrize("to", ["a b@c.d", "@corp.example", "x@", "<a@b.example>", "a\x1b@b.example"])
def test_replay_to_no_address(quarantine, to):
    q = quarantine({"acc": [mail("one")]})
    for how in ([q.ids["one"]], ["--sender", "a@", "--yes"], ["--sender", "a@"]):
        for more in ([], ["--dry-run"]):
            options = [*how, *more, "--to", f"ok@corp.example,{to}"]
            code, out, err = q.ferry.ctl("badmail", "replay", *options)
            assert (code, out) == (EXIT_USAGE, "") and "\x1b" not in err
            assert "expected an address" in err or how[-1] == "a@" and not more
    assert q.ferry.ctl("badmail", "replay", q.ids["one"], "--to", "")[0] == EXIT_USAGE
    assert q.subjects() == ["one"] and not q.arrived()


def test_a_replay_that_is_refused_keeps_its_history(quarantine):
    """Twice: what the filters said of the first is shown with the third, and of whom."""
    q = quarantine({"acc": [mail("one")]})
    first = old = q.ids["one"]
    q.smtp.script["."] = b"554 5.7.1 no\r\n"
    for _ in range(2):
        q.ferry.ctl_ok("badmail", "replay", old)
        (row,) = wait_for(lambda: [r for r in q.ferry.badmail() if r["id"] != old], what="a refusal")
        listed = q.ferry.ctl_ok("badmail", "list")
        assert " 554 5.7.1 no" in listed and "relay: " not in listed
        item = q.ferry.ctl_json("badmail", "show", row["id"])
        assert item["replay_of"] == old and item["report_of"] == first
        assert item["report"][0]["score"] == 17.3
        shown = q.ferry.ctl_ok("badmail", "show", row["id"])
        assert re.search(f"^replay of: +{old}$", shown, re.M) and "17.3 of 15.0" in shown
        assert f"What the filters said of {first}" in shown
        old = row["id"]


def test_an_id_that_is_named_twice(quarantine):
    q = quarantine({"acc": [mail("one"), mail("two")]})
    one, two = q.ids["one"], q.ids["two"]
    for deed in ("replay", "delete"):
        told = q.ferry.ctl_json("badmail", deed, one, one.lower(), two, one, "--dry-run")
        assert told["ids"] == [one, two]
    told = q.ferry.ctl_json("badmail", "replay", one, one)
    assert list(told["replayed"]) == [one] and told["failed"] == {}
    told = q.ferry.ctl_json("badmail", "delete", two, two.lower())
    assert told["deleted"] == [two] and told["failed"] == {}


def test_replay_to_others_survives_a_crash_behind_the_claim(quarantine):
    """Somebody has the file open, so that it is claimed and not copied: hygiene is killed there."""
    q = quarantine({"acc": [mail("one")]})
    with open(q.path(q.ids["one"]), "r+b"):
        q.ferry.ctl_ok("badmail", "replay", q.ids["one"], "--to", "boss@corp.example")
        wait_for(lambda: q.ferry.files("outgoing", ".drop"), what="the claim")
        q.ferry.kill("hygiene")
        assert not q.arrived()
    q.ferry.start("hygiene")
    assert q.wait_arrived(1) == [("a@origin.example", ["boss@corp.example"], mail("one"))]
    q.ferry.drain()
    assert len(q.arrived()) == 1


def test_replay_of_many_to_others_while_hygiene_is_killed(quarantine):
    """Each arrives once, and none where it was to go at first."""
    messages = [mail(f"m{n}", body=("x" * 75 + "\n") * 4_000) for n in range(24)]
    messages += [mail(f"s{n}") for n in range(24)]
    q = quarantine({"acc": messages})
    for pause in (0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2):
        ids = [row["id"] for row in q.ferry.badmail()][:6]
        q.ferry.ctl("badmail", "replay", *ids, "--to", "boss@corp.example")
        sleep(pause)
        q.ferry.kill("hygiene")
        q.ferry.start("hygiene")
    q.ferry.drain()
    assert sorted(message for *_, message in q.arrived()) == sorted(messages)
    assert {tuple(to) for _, to, _ in q.arrived()} == {("boss@corp.example",)}


# --- many at once ---


@pytest.fixture
def many(quarantine):
    """120 of one sender, more than go into a request, and two of others."""
    spam = [mail(f"spam {n}", "spam@bulk.example") for n in range(120)]
    return quarantine({"acc": [*spam, mail("one"), mail("two")]})


def state(q):
    return sorted(q.subjects()), len(q.ferry.files("badmail")), len(q.arrived())


def test_a_dry_run_changes_nothing(many):
    before = state(many)
    for deed, done in (("replay", "replayed"), ("delete", "deleted")):
        out = many.ferry.ctl_ok("badmail", deed, "--sender", "bulk.example", "--dry-run")
        assert f"120 messages would be {done}" in out and many.ids["spam 7"] in out
        assert many.ids["one"] not in out
        told = many.ferry.ctl_json("badmail", deed, "--subject", "o", "--sender", "origin", "--dry-run")
        assert told["dry_run"] is True and told["count"] == 2
        assert sorted(told["ids"]) == sorted([many.ids["one"], many.ids["two"]])
        code, out, err = many.ferry.ctl("badmail", deed, many.ids["one"], "0" * 26, "--dry-run")
        assert code == EXIT_FAILED and "1 message would" in out and "0" * 26 in err
        assert "0 messages would" in many.ferry.ctl_ok("badmail", deed, "--sender", "none@", "--dry-run")
    for options in ([many.ids["one"]], ["--subject", "one"]):
        to = ["--to", "boss,ann@o.example", "--dry-run"]
        out = many.ferry.ctl_ok("badmail", "replay", *options, *to)
        assert "to boss@corp.example, ann@o.example alone" in out
        told = many.ferry.ctl_json("badmail", "replay", *options, *to)
        assert told["to"] == ["boss@corp.example", "ann@o.example"]
    assert state(many) == before and len(many.filter.asked) == 122


def test_replay_by_filter(many):
    many.ferry.ctl_ok("badmail", "replay", "--sender", "bulk.example", "--yes")
    arrived = many.wait_arrived(120)
    assert {sender for sender, *_ in arrived} == {"spam@bulk.example"}
    assert sorted(many.subjects()) == ["one", "two"] and len(many.filter.asked) == 122


def test_delete_by_filter(many):
    told = many.ferry.ctl_json("badmail", "delete", "--sender", "bulk.example", "--yes")
    assert len(told["deleted"]) == 120 and told["failed"] == {}
    assert state(many) == (["one", "two"], 2, 0)
    assert len(many.subjects("--state", "deleted")) == 120
    assert len(many.ferry.events("hygiene", "badmail-deleted")) == 120
    assert many.ferry.ctl_json("badmail", "delete", "--sender", "bulk.example", "--yes")["deleted"] == []


def test_nobody_is_there_to_be_asked(many):
    before = state(many)
    for deed in ("replay", "delete"):
        for options in (
            ["--sender", "bulk.example"],
            [],
            ["--yes"],
            ["--dry-run"],
            ["--sender", "bulk.example", many.ids["one"], "--yes"],
            ["--all", "--yes"],
            ["--sender", "", "--yes"],
            ["--older", "x", "--yes"],
            ["--state", "held", "--yes"],
        ):
            code, out, err = many.ferry.ctl("badmail", deed, *options)
            assert code == EXIT_USAGE and not out and err, options
    assert state(many) == before


def test_somebody_is_asked(many):
    before = state(many)
    for answer in (b"n\n", b"\n", b"\x04"):
        code, out = on_terminal(many.ferry, "badmail", "delete", "--sender", "bulk", answer=answer)
        text = out.decode()
        assert code == EXIT_FAILED and "Delete these 120 messages? [y/N]" in text
        assert many.ids["spam 0"] in text and "... and 110 more" in text and "Nothing was changed" in text
    assert state(many) == before
    code, _ = on_terminal(many.ferry, "badmail", "delete", "--sender", "bulk", answer=b"y\n")
    assert code == 0 and state(many) == (["one", "two"], 2, 0)


# --- what time removes ---


def test_retention(quarantine):
    """What is older than badmail-keep goes, with an event each; what is not, stays."""
    messages = [mail(f"old {n}", f"s{n}@origin.example") for n in range(60)]
    q = quarantine({"acc": [*messages, mail("young"), mail("replayed")]}, badmail_keep="1d")
    q.ferry.ctl_ok("badmail", "replay", q.ids["replayed"])
    q.wait_arrived(1)
    q.age({f"old {n}": 1.01 for n in range(60)} | {"young": 0.9, "replayed": 2})
    wait_for(lambda: len(q.ferry.files("badmail")) == 1, 20, "the old ones to go")
    events = q.ferry.events("hygiene", "badmail-expired")
    assert sorted(one["id"] for one in events) == sorted(q.ids[f"old {n}"] for n in range(60))
    (event,) = [one for one in events if one["id"] == q.ids["old 7"]]
    assert (event["account"], event["sender"], event["subject"]) == ("acc", "s7@origin.example", "old 7")
    assert q.subjects() == ["young"] and len(q.subjects("--state", "expired")) == 60
    assert q.ferry.ctl_json("badmail", "show", q.ids["old 7"])["state"] == "expired"
    code, _, err = q.ferry.ctl("badmail", "replay", q.ids["old 7"])
    assert code == EXIT_FAILED and "holds no such" in err
    assert len(q.arrived()) == 1 and q.ferry.status()["hygiene"]["held"] == 1


def test_retention_while_hygiene_is_killed(quarantine):
    """Row, event and file agree in the end; nothing that is to stay is removed."""
    messages = [mail(f"old {n}") for n in range(180)]
    q = quarantine({"acc": [*messages, mail("young")]}, badmail_keep="1d")
    q.age({f"old {n}": 1.01 for n in range(180)})
    for pause in (2.0, 0.02, 2.01, 0.05):  # the first turn is 2 s behind a start
        sleep(pause)
        q.ferry.kill("hygiene")
        q.ferry.start("hygiene")
    wait_for(lambda: len(q.ferry.files("badmail")) == 1, 30, "the old ones to go")
    told = {one["id"] for one in q.ferry.events("hygiene", "badmail-expired")}
    assert told == {q.ids[f"old {n}"] for n in range(180)}
    assert q.subjects() == ["young"] and len(q.subjects("--state", "expired")) == 180
    assert spool_message(q.path(q.ids["young"]))[1] == mail("young")

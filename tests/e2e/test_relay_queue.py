"""The queue before the SMTP server: what a person can do with it, and what it does to fetching."""

import pytest

from tests.harness.mail import normalised, simple
from tests.harness.popferry import EXIT_FAILED, sleep
from tests.harness.process import free_port, wait_for
from tests.harness.scripted import HANG, ScriptedPop3, ScriptedSmtp, times

LATER = b"451 4.7.1 not now\r\n"


def drop(ferry, subject, sender="a@origin.example"):
    """Into pickup/, moved there whole."""
    text = f"X-Sender: <{sender}>\nX-Receiver: <you@corp.example>\n".encode() + simple(subject)
    part = ferry.spool / "pickup" / f"{subject}.part"
    part.write_bytes(text)
    part.rename(part.with_suffix(".eml"))


def senders(smtp):
    return [sender for sender, *_ in smtp.accepted]


def queued(ferry, count):
    return wait_for(
        lambda: (items := ferry.queue()) and len(items) == count and items,
        what=f"{count} messages in the queue",
    )


def held_ids(ferry):
    return [one["id"] for one in ferry.queue() if one["state"] == "held"]


def test_hold_and_release_of_one_that_was_put_off(make_ferry):
    with ScriptedSmtp({".": times(1, LATER)}) as smtp:
        ferry = make_ferry(smtp.port, relay={"retry_min": "1h", "retry_max": "1h"})
        drop(ferry, "one")
        wait_for(lambda: [one["attempts"] for one in ferry.queue()] == [1], what="the first try")
        found = ferry.queue()[0]["id"]
        answer = ferry.ctl_json("queue", "hold", found)
        assert answer == {"held": [found], "failed": {}}
        assert "held" in ferry.ctl_ok("queue")
        assert ferry.ctl_json("queue", "show", found)["state"] == "held"
        shown = ferry.ctl_ok("status")
        assert "! 1 message is held back by hand" in shown and "queue release" in shown
        assert ferry.status()["relayd"]["queue"]["held"] == 1

        code, _, error = ferry.ctl("retry", found)
        assert code == EXIT_FAILED and "queue release" in error
        ferry.ctl_ok("retry", "--all")
        ferry.relay_section |= {"retry_min": "1s", "retry_max": "1s", "expire": "2s"}
        ferry.write_conf()
        ferry.restart("relayd")
        sleep(3)  # longer than retry-max and expire
        assert held_ids(ferry) == [found]
        assert not smtp.accepted and not ferry.badmail()

        assert ferry.ctl_json("queue", "release", found)["released"] == [found]
        ferry.drain()
        assert senders(smtp) == ["a@origin.example"]


def test_what_is_put_off_is_told_of(make_ferry):
    with ScriptedSmtp({".": LATER}) as smtp:
        ferry = make_ferry(smtp.port)
        for name in ("one", "two"):
            drop(ferry, name)
        wait_for(lambda: ferry.status()["relayd"]["queue"]["deferred"] == 2, what="both put off")
        shown = ferry.ctl_ok("status")
        assert "! 2 messages are put off by the SMTP server" in shown
        assert "All is well" not in shown and "retry --all" in shown
        smtp.script.clear()
        ferry.ctl_ok("retry", "--all")
        ferry.drain()
        assert "All is well" in ferry.ctl_ok("status")


def test_recipients_that_are_put_off_are_not_called_refused(make_ferry):
    """They have been asked about, by 4xx, and the others not yet."""
    script = {f"RCPT TO:<R{n}@*": LATER for n in range(3)} | {"RCPT TO:<R3@*": HANG}
    with ScriptedSmtp(script) as smtp:
        ferry = make_ferry(smtp.port, relay={"session_errors": 3, "sessions": 1})
        to = "".join(f"X-Receiver: <r{n}@corp.example>\n" for n in range(4))
        part = ferry.spool / "pickup/four.part"
        part.write_bytes(f"X-Sender: <a@origin.example>\n{to}".encode() + simple("four"))
        part.rename(part.with_suffix(".eml"))
        [item] = queued(ferry, 1)

        def shown():
            return ferry.ctl_json("queue", "show", item["id"])["settled"]

        wait_for(lambda: len(shown()) == 3, what="three answers")
        assert {one["address"]: one["state"] for one in shown()} == {
            f"r{n}@corp.example": "put off" for n in range(3)
        }
        text = ferry.ctl_ok("queue", "show", item["id"])
        assert "put off" in text and "refused" not in text


def test_hold_with_relayd_down(make_ferry):
    """Two fresh ones; the other goes out, in spite of the one that is held."""
    with ScriptedSmtp() as smtp:
        ferry = make_ferry(smtp.port)
        ferry.stop("relayd")
        for name in ("one", "two"):
            drop(ferry, name, f"{name}@origin.example")
        items = {one["sender"]: one["id"] for one in queued(ferry, 2)}
        one = items["one@origin.example"]
        ferry.ctl_ok("queue", "hold", one)
        assert held_ids(ferry) == [one]
        ferry.start("relayd")
        wait_for(lambda: senders(smtp) == ["two@origin.example"], what="the other to go out")
        assert held_ids(ferry) == [one]
        ferry.stop("relayd")
        assert "released" in ferry.ctl_ok("queue", "release", one)
        ferry.start("relayd")
        ferry.drain()
        assert senders(smtp) == ["two@origin.example", "one@origin.example"]


def test_hold_says_what_it_cannot(make_ferry):
    with ScriptedSmtp() as smtp:
        ferry = make_ferry(smtp.port)
        nobody = "01JD0VSM7N4C2T8RZ5K3W9XQHB"
        code, _, error = ferry.ctl("queue", "hold", nobody)
        assert code == EXIT_FAILED and f"{nobody}: it is not in the queue" in error
        code, _, error = ferry.ctl("queue", "release", nobody)
        assert code == EXIT_FAILED and f"{nobody}: it is not held" in error


def put_files(ferry, count):
    """Into outgoing/, damaged as they are: nothing but their names is known. relayd has no server,
    so that it leaves them there."""
    ids = [f"01JD0VSM7N{n:016d}" for n in range(count)]
    for name in ids:
        (ferry.spool / "outgoing" / f"{name}.eml").touch()
    return ids


def rows(text):
    return [line.split()[0] for line in text.splitlines() if line.startswith("01JD0VSM7N")]


@pytest.mark.parametrize("up", [True, False])
def test_a_long_queue(make_ferry, up):
    """In JSON all; for people the first 500 and how many more there are."""
    ferry = make_ferry(free_port())
    ids = put_files(ferry, 600)
    if not up:
        ferry.stop("relayd")
    assert [one["id"] for one in ferry.queue()] == ids
    text = ferry.ctl_ok("queue")
    assert rows(text) == ids[:500]
    assert "... and 100 more; --all shows them" in text
    text = ferry.ctl_ok("queue", "--all")
    assert rows(text) == ids
    assert text.count("RECIPIENT") == 2
    assert "more" not in text


@pytest.mark.parametrize("up", [True, False])
def test_a_very_long_queue(make_ferry, up):
    """More than are sorted: each once."""
    ferry = make_ferry(free_port())
    ids = put_files(ferry, 6000)
    if not up:
        ferry.stop("relayd")
    assert sorted(one["id"] for one in ferry.queue()) == ids
    text = ferry.ctl_ok("queue")
    assert len(set(rows(text))) == 500
    assert "... and 5500 more; --all shows them" in text
    if up:
        assert ferry.status()["relayd"]["spool"]["outgoing"] == 6000


def test_a_queue_over_its_limit_holds_fetching_off(make_ferry):
    mail = [normalised(simple(f"number {n}")) for n in range(1, 9)]
    with ScriptedSmtp({".": LATER}) as smtp, ScriptedPop3(mail) as server:
        relay = {"retry_min": "1h", "retry_max": "1h", "queue_limit": 4}
        ferry = make_ferry(smtp.port, relay=relay)
        ferry.add_account("acc", server.port, "user", "secret", "acc@corp.example")
        ferry.fetch("acc")  # by hand: it goes over
        queued(ferry, 8)
        ferry.restart("fetcherd")  # it asks relayd at its start
        held = wait_for(lambda: ferry.status()["fetcherd"]["holding_off"], what="holding off")
        assert "queue-limit" in held
        assert "queue-limit" in ferry.ctl_ok("status")
        assert ferry.events("fetcherd", "holding-off")

        smtp.script.clear()
        ferry.ctl_ok("retry", "--all")
        wait_for(
            lambda: ferry.events("fetcherd", "fetching-again"), 30, "fetching to go on again"
        )
        assert not ferry.status()["fetcherd"]["holding_off"]

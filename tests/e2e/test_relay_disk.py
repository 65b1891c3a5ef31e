"""A disk too full for relayd to write down what became of a message: then it sends nothing, however
often it is started again. The same with a clock that is not slept through: tests/unit/relayd/test_room.c.
"""

import os
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest

from tests.harness.mail import normalised, simple
from tests.harness.process import wait_for
from tests.harness.scripted import ScriptedSmtp

COUNT, SESSIONS, RESTARTS = 10, 2, 6
MIB = 1 << 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own takes root to mount")


class Waiting(ScriptedSmtp):
    """Answers the end of a message once `go` is set; `at_end` counts those that wait for it."""

    def __init__(self, **more):
        self.go = threading.Event()
        self.at_end = 0
        super().__init__(**more)

    def _finish(self, talk, message):
        with self.lock:
            self.at_end += 1
        self.go.wait(60)
        super()._finish(talk, message)


@contextmanager
def small_disk(ferry):
    """Below its state directory: 24 MiB, of which the ledgers take little."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0750", "tmpfs", ferry.state], check=True)
    try:
        ferry.init()
        yield ferry.state / "filler"
    finally:
        ferry.stop()
        subprocess.run(["umount", ferry.state], check=True)


def fill(filler, left):
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() - left))


def queued(ferry):
    ferry.start("hygiene")
    for n in range(COUNT):
        part = ferry.spool / "pickup" / f"m{n}.part"
        envelope = f"X-Sender: <m{n}@origin.example>\r\nX-Receiver: <you@corp.example>\r\n"
        part.write_bytes(envelope.encode() + normalised(simple(f"m{n}")))
        part.rename(part.with_suffix(".eml"))
    wait_for(lambda: ferry.counts()["outgoing"] == COUNT, what="all to wait")
    ferry.stop("hygiene")


def restart_again_and_again(ferry):
    """As a supervisor does; one that stays up is given a while. The states it was left in."""
    states = Counter()
    for _ in range(RESTARTS):
        ferry._spawn_once("relayd")
        end = time.monotonic() + 1.5
        while ferry.running("relayd") and time.monotonic() < end:
            time.sleep(0.05)
        states["stays" if ferry.running("relayd") else "ends"] += 1
        ferry.stop("relayd")
    return states


def copies(smtp):
    return Counter(sender for sender, *_ in list(smtp.accepted))


def all_arrive(ferry, smtp):
    ferry.start("relayd")
    wait_for(lambda: ferry.counts()["outgoing"] == 0, what="all to be sent")
    assert len(copies(smtp)) == COUNT
    assert ferry.status()["relayd"]["holding_off"] is None


@pytest.mark.parametrize("left", [0, 128 << 10, 2 * MIB])
def test_nothing_is_sent_again_and_again(make_ferry, left):
    with ScriptedSmtp() as smtp:
        ferry = make_ferry(smtp.port, relay={"sessions": SESSIONS}, start=False)
        with small_disk(ferry) as filler:
            queued(ferry)
            fill(filler, left)
            restart_again_and_again(ferry)
            assert not smtp.accepted
            filler.unlink()
            all_arrive(ferry, smtp)
            assert len(smtp.accepted) == COUNT


def test_a_disk_that_fills_up_between_message_and_answer(make_ferry):
    with Waiting() as smtp:
        ferry = make_ferry(smtp.port, relay={"sessions": SESSIONS}, start=False)
        with small_disk(ferry) as filler:
            queued(ferry)
            ferry.start("relayd")
            wait_for(lambda: smtp.at_end == SESSIONS, what="both connections to be at the end")
            fill(filler, 0)
            time.sleep(1.1)  # what it knows of the disk is a second old at most
            smtp.go.set()
            wait_for(lambda: len(smtp.accepted) == SESSIONS, what="these to be taken")
            time.sleep(0.5)
            ferry.stop("relayd")
            restart_again_and_again(ferry)
            assert len(smtp.accepted) == SESSIONS  # and no other
            filler.unlink()
            all_arrive(ferry, smtp)
            assert len(smtp.accepted) <= COUNT + SESSIONS
            assert max(copies(smtp).values()) <= 2


def test_it_waits_for_room_and_says_so(make_ferry):
    with ScriptedSmtp() as smtp:
        ferry = make_ferry(smtp.port, relay={"sessions": SESSIONS}, start=False)
        with small_disk(ferry) as filler:
            queued(ferry)
            fill(filler, 2 * MIB)
            ferry.start("relayd")
            wait_for(lambda: ferry.status()["relayd"]["holding_off"], what="it to hold off")
            _, shown, _ = ferry.ctl("status")
            assert "nothing is sent: the disk of state-dir is nearly full" in " ".join(shown.split())
            assert f"df {ferry.state}" in shown
            assert ferry.queue()[0]["attempts"] == 0
            assert not smtp.accepted
            filler.unlink()
            wait_for(lambda: ferry.counts()["outgoing"] == 0, 20, "it to go on by itself")
            assert len(smtp.accepted) == COUNT
            assert [one["level"] for one in ferry.events("relayd", "holding-off")] == ["alarm"]
            assert len(ferry.events("relayd", "relaying-again")) == 1
            assert ferry.status()["relayd"]["circuit"] == "closed"


def test_what_a_person_asks_for_ends_no_daemon(make_ferry):
    """It is refused, with what to do; the daemon that is down is asked as well."""
    with ScriptedSmtp({"MAIL*": b"451 4.3.0 later\r\n"}) as smtp:
        ferry = make_ferry(smtp.port, relay={"retry_min": "1h", "retry_max": "1h"}, start=False)
        with small_disk(ferry) as filler:
            queued(ferry)
            ferry.start("relayd")
            wait_for(lambda: all(one["attempts"] for one in ferry.queue()), what="all to be put off")
            ids = [one["id"] for one in ferry.queue()]
            asked = [("queue", "hold", ids[0]), ("queue", "release", ids[0]), ("retry", ids[0])]
            ferry.ctl_ok(*asked[0])
            fill(filler, 0)
            for running in (True, False):
                for words in asked:
                    code, _, said = ferry.ctl(*words)
                    assert code == 1 and "state-dir is full" in said and f"df {ferry.state}" in said
                assert ferry.running("relayd") == running
                ferry.stop("relayd")
            filler.unlink()
            ferry.start("relayd")
            for words in asked[1:]:
                ferry.ctl_ok(*words)

"""A disk too full for hygiene to write down what it decides: it stays up, waits, and goes on by itself."""

import os

import pytest

from tests.e2e.test_relay_disk import fill, small_disk
from tests.harness.mail import normalised, simple
from tests.harness.popferry import sleep
from tests.harness.process import wait_for
from tests.harness.scripted import ScriptedSmtp

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own takes root to mount")
COUNT = 5


def drop(ferry, n):
    part = ferry.spool / "pickup" / f"m{n}.part"
    envelope = b"X-Sender: <a@origin.example>\r\nX-Receiver: <you@corp.example>\r\n"
    part.write_bytes(envelope + normalised(simple(f"m{n}")))
    part.rename(part.with_suffix(".eml"))


@pytest.mark.parametrize("left", [0, 512 << 10])
def test_it_stays_and_goes_on(make_ferry, left):
    with ScriptedSmtp() as smtp:
        ferry = make_ferry(smtp.port, start=False)
        with small_disk(ferry) as filler:
            ferry.start("hygiene")
            ferry.stop("hygiene")
            fill(filler, left)
            ferry._spawn_once("hygiene")
            for n in range(COUNT):
                drop(ferry, n)
            wait_for(lambda: ferry.events("hygiene", "holding-off"), what="it to hold off")
            sleep(6)  # longer than from the start to the first look at the clock, and than a walk
            assert ferry.running("hygiene")
            assert "disk of state-dir is nearly full" in ferry.status()["hygiene"]["holding_off"]
            assert ferry.counts()["pickup"] == COUNT
            # told once, by what is full; a drop that was seen under its first name is no matter
            left = ferry.status()["hygiene"]["pickup"]["left"]
            assert {one["reason"] for one in left} <= {"name"}
            filler.unlink()
            ferry.start("relayd")
            wait_for(lambda: len(smtp.accepted) == COUNT, 30, "all to be sent")
            assert ferry.status()["hygiene"]["holding_off"] is None
            assert len(ferry.events("hygiene", "holding-off")) == 1
            assert len(ferry.events("hygiene", "judging-again")) == 1


def test_fetched_mail_waits_in_incoming(make_ferry, pop3):
    """What fetcherd had put there before is found when there is room."""
    with ScriptedSmtp() as smtp:
        ferry = make_ferry(smtp.port, start=False)
        with small_disk(ferry) as filler:
            ferry.start("fetcherd")
            pop3.add_user("disk-waits", "secret")
            for n in range(COUNT):
                pop3.drop("disk-waits", simple(f"m{n}"))
            ferry.add_account("disk-waits", pop3.port, "disk-waits", "secret", "you@corp.example")
            ferry.fetch("disk-waits")
            wait_for(lambda: ferry.counts()["incoming"] == COUNT, what="all to be fetched")
            ferry.stop("fetcherd")
            fill(filler, 0)
            ferry._spawn_once("hygiene")
            sleep(6)
            assert ferry.running("hygiene")
            assert ferry.counts()["incoming"] == COUNT
            filler.unlink()
            wait_for(lambda: ferry.counts()["outgoing"] == COUNT, 20, "all to be judged")


def test_it_goes_on_without_mail(make_ferry):
    """What it held off for is gone, and nothing else comes; whether anybody asks or not."""
    with ScriptedSmtp() as smtp:
        ferry = make_ferry(smtp.port, start=False)
        with small_disk(ferry) as filler:
            ferry.start("hygiene")
            fill(filler, 0)
            drop(ferry, 1)
            wait_for(lambda: ferry.events("hygiene", "holding-off"), what="it to hold off")
            (ferry.spool / "pickup" / "m1.eml").unlink()
            filler.unlink()
            wait_for(lambda: ferry.events("hygiene", "judging-again"), 10, "it to go on")
            fill(filler, 0)
            sleep(1.1)  # it looks once a second
            assert "disk of state-dir is nearly full" in ferry.status()["hygiene"]["holding_off"]
            filler.unlink()
            sleep(1.1)
            assert ferry.status()["hygiene"]["holding_off"] is None

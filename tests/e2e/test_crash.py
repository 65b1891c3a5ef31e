"""Each daemon killed with SIGKILL in mid-work, thirty times over a run: every message ends in
exactly the right place, none is lost, and no more is sent twice than the design allows."""

import random
import threading

from tests.harness.mail import as_delivered, duplicates, simple, sized
from tests.harness.popferry import DAEMONS, spool_message
from tests.harness.process import wait_for

KILLS_EACH = 10
SESSIONS = 3  # of relayd; at most one message a connection is in doubt when it is killed
ACCOUNTS = 5
PER_KILL = 10


class Fetching:
    """Asks for a fetch of everything again and again, whoever may be down."""

    def __init__(self, ferry):
        self._ferry, self._stop = ferry, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.wait(0.1):
            self._ferry.ctl("fetch", "--all")

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def feed(boxes, number):
    """The messages that go with one kill: mostly small, one in five refused, some large."""
    for at in range(PER_KILL):
        box = boxes[(number + at) % len(boxes)]
        tag = f"{number}.{at}"
        if at % 5 == 4:
            box.refused.append(len(box.sent))
            box.drop(simple(f"refused {tag}", sender="bad@origin.example"))
        elif at == 0:
            box.drop(sized(300_000, number))
        else:
            box.drop(simple(f"good {tag}", body=f"{tag}\n" * (1 + 100 * at)))


def test_thirty_kills(make_ferry, make_box, smtp):
    relay = {"retry_min": "1s", "retry_max": "2s", "sessions": SESSIONS}
    ferry = make_ferry(smtp.port, relay=relay)
    smtp.refuse("550 5.7.1 refused for ever", sender="bad@")
    boxes = [make_box(ferry) for _ in range(ACCOUNTS)]
    for box in boxes:
        box.refused = []

    seed = random.randrange(10**6)
    print("seed", seed)
    dice = random.Random(seed)
    victims = list(DAEMONS) * KILLS_EACH
    dice.shuffle(victims)

    with Fetching(ferry):
        for number, victim in enumerate(victims):
            feed(boxes, number)
            threading.Event().wait(dice.uniform(0.02, 0.5))
            ferry.kill(victim)
            if dice.random() < 0.3:
                threading.Event().wait(dice.uniform(0.0, 0.3))
            ferry.start(victim)

    def finished():
        ferry.ctl("fetch", "--all", "--wait", timeout=120)
        return not ferry.in_flight() and not any(box.on_server() for box in boxes)

    wait_for(finished, 120, "every mailbox and the spool to be empty", interval=0.2)
    smtp.settle()

    # what was refused is in badmail, once each, with its bytes
    refused = sorted(box.sent[at] for box in boxes for at in box.refused)
    assert sorted(spool_message(path)[1] for path in ferry.files("badmail")) == refused
    assert len(ferry.badmail()) == len(refused)

    # everything else arrived, unaltered; the few twice are within the bound
    twice = 0
    for box in boxes:
        good = [raw for at, raw in enumerate(box.sent) if at not in box.refused]
        twice += duplicates(good, box.arrived())
    print(f"{sum(len(box.sent) for box in boxes)} messages, {len(victims)} kills, {twice} twice")
    assert twice <= KILLS_EACH * SESSIONS

    # nobody raised an alarm: no message was thought lost
    assert [one for name in DAEMONS for one in ferry.events(name, "message-lost")] == []


def test_all_three_killed_at_once(make_ferry, make_box, smtp):
    """The power cut, as far as processes go, some times over."""
    ferry = make_ferry(smtp.port, relay={"retry_min": "1s", "retry_max": "2s"})
    box = make_box(ferry)
    dice = random.Random(7)
    for cut in range(4):
        box.drop(*(simple(f"cut {cut} number {n}", body="x\n" * 3000) for n in range(25)))
        with Fetching(ferry):
            threading.Event().wait(dice.uniform(0.05, 0.4))
            for name in DAEMONS:
                ferry.kill(name)
            ferry.start()

    def finished():
        ferry.ctl("fetch", "--all", "--wait")
        return not ferry.in_flight() and box.on_server() == 0

    wait_for(finished, 90, "the mailbox and the spool to be empty", interval=0.2)
    smtp.settle()
    assert duplicates(box.sent, box.arrived()) <= 4 * 10
    assert ferry.badmail() == []


def test_spool_lost_whole(ferry, box, smtp):
    """The whole spool disk is gone before delivery: it costs a second download, no mail."""
    ferry.stop("relayd")
    box.drop(*(simple(f"number {n}") for n in range(5)))
    ferry.fetch(box.name)
    wait_for(lambda: ferry.counts()["outgoing"] == 5, what="five files in outgoing/")
    for path in ferry.files("outgoing"):
        path.unlink()
    ferry.start("relayd")

    def arrived():
        ferry.fetch(box.name)
        return smtp.count(box.name) >= 5

    wait_for(arrived, 60, "the mail to be fetched again")
    smtp.settle()
    assert sorted(box.arrived()) == sorted(map(as_delivered, box.sent))
    assert ferry.events("fetcherd", "message-lost")

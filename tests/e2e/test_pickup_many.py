"""Ten thousand drops by eight writers at once, while hygiene is killed again and again."""

import random
import re
import time
from collections import Counter

from tests.harness import dropper
from tests.harness.process import wait_for
from tests.harness.sink import Sink

WRITERS, FILES = 8, 1250
KILLS = 40
_TOKEN = re.compile(rb"^(\S+) begins\n.*\nand (\S+) ends$", re.M)


def arrived(sink):
    """How often each token arrived, whole."""
    got = Counter()
    for dump in sink.dumps():
        begin, end = _TOKEN.search(dump.message).groups()
        assert begin == end and dump.sender == f"{begin.decode()}@origin.example"
        got[begin.decode()] += 1
    return got


def kill_until(ferry, done, dice):
    """SIGKILL and start anew, at most half a second apart, until done() or KILLS times; how often."""
    for kills in range(KILLS):
        if done():
            return kills
        time.sleep(dice.choice((0.02, 0.1, 0.5)) * dice.random())
        ferry.kill("hygiene")
        ferry.start("hygiene")
    return KILLS


def test_each_drop_is_delivered_once(make_ferry, tmp_path, figure):
    seed = random.randrange(10**6)
    print("seed", seed)
    with Sink(tmp_path / "sink") as sink:
        ferry = make_ferry(sink.port)
        begun = time.monotonic()
        pickup = ferry.spool / "pickup"
        writers = dropper.start(WRITERS, FILES, pickup, "ops@corp.example")

        def all_are_claimed():
            return all(w.poll() is not None for w in writers) and not any(pickup.iterdir())

        kills = kill_until(ferry, all_are_claimed, random.Random(seed))
        wait_for(all_are_claimed, 120, "all to be claimed", 0.2)
        assert [w.returncode for w in writers] == [0] * WRITERS
        wait_for(lambda: not any((ferry.spool / "outgoing").iterdir()), 120, "all to be sent", 0.2)
        took = time.monotonic() - begun
        got, want = arrived(sink), dropper.expected(WRITERS, FILES)
        figure(f"{want.total()} drops, {kills} kills, {took:.0f} s")
        assert got == want, f"{(want - got).total()} lost, {(got - want).total()} more than once"
        assert kills >= 10
        assert ferry.badmail() == []

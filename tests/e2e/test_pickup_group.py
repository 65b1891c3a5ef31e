"""pickup/ with mode 1730, for a group that may drop and not read; the daemons are another user."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness import stranger
from tests.harness.mail import as_delivered, simple
from tests.harness.popferry import Popferry, sleep
from tests.harness.process import wait_for
from tests.harness.stranger import DAEMON, DROPPER, GROUP

WITH_LEASE, WITHOUT = ("lease",), ()
MOVE = 'umask "$3" && printf %s "$2" >"$1/.$$" && mv "$1/.$$" "$1/moved.eml"'
WRITE = 'umask 022 && printf %s "$2" >"$1/written.eml"'
SLOWLY = 'umask 022 && exec 3>"$1/slow.eml" && printf %s "$2" >&3 && sleep 3 && printf %s "$3" >&3'
OPEN = (
    'umask 022 && exec 3>"$1/.d" && printf %s "$2" >&3 && mv "$1/.d" "$1/o.eml" && '
    'sleep 3 && printf %s "$3" >&3'
)


@dataclass
class Box:
    ferry: Popferry
    path: Path

    def drop(self, script, *args, groups=(GROUP,)):
        return stranger.run(DROPPER, groups, script, self.path, *args)


@pytest.fixture(params=[WITH_LEASE, WITHOUT], ids=["CAP_LEASE", "no capability"])
def box(request, make_ferry, smtp):
    """The installation's pickup/, set up as hygiene(8) says."""
    stranger.need_root()
    ferry = make_ferry(smtp.port, start=False)
    stranger.give(ferry.home, DAEMON)
    ferry.run_as = stranger.prefix(DAEMON, capabilities=request.param)
    ferry.spool.chmod(0o751)
    pickup = ferry.spool / "pickup"
    os.chown(pickup, DAEMON, GROUP)
    pickup.chmod(0o1730)
    ferry.start()
    return Box(ferry, pickup)


@pytest.fixture
def to(request):
    return "g-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:60]


def lines(to, text):
    return f"X-Receiver: <{to}@corp.example>\n" + text


def test_the_group_drops_and_reads_nothing(box, smtp, to):
    raw = simple(to).decode()
    assert box.drop('ls "$1"').returncode != 0
    assert box.drop(WRITE, raw, groups=()).returncode != 0, "who is not in the group can't drop"
    assert box.drop(MOVE, lines(to, raw), "022").returncode == 0
    smtp.wait_count(to, 1)
    assert box.drop(WRITE, lines(to, raw)).returncode == 0
    smtp.wait_count(to, 2)
    assert smtp.messages(to) == [as_delivered(raw.encode())] * 2
    wait_for(lambda: not list(box.path.iterdir()), what="pickup/ to be empty")


@pytest.mark.parametrize("how", [SLOWLY, OPEN], ids=["in place", "moved while open"])
def test_a_slow_writer_is_waited_for(box, smtp, to, how):
    head, tail = simple(to, body="first\n").decode(), "second\n"
    assert box.drop(how, lines(to, head), tail).returncode == 0
    smtp.wait_count(to, 1)
    smtp.settle()
    assert smtp.messages(to) == [as_delivered((head + tail).encode())]


def test_what_hygiene_may_not_read_is_shown(box, smtp, to):
    """Shown as long as it lies there, told once, and taken when it may be read."""
    raw = simple(to).decode()
    assert box.drop(MOVE, lines(to, raw), "077").returncode == 0

    def left():
        pickup = box.ferry.status()["hygiene"]["pickup"]
        return {one["reason"]: one for one in pickup["left"]}.get("unreadable")

    shown = wait_for(left, what="the file to be shown")
    assert (shown["count"], shown["examples"]) == (1, ["moved.eml"])
    assert "hygiene may not read it (moved.eml)" in box.ferry.ctl_ok("status")
    sleep(11)  # two walks
    events = box.ferry.events("hygiene", "pickup-left-alone")
    assert [(one["name"], one["reason"]) for one in events] == [
        ("moved.eml", "hygiene may not read it")
    ]
    assert smtp.count(to) == 0
    (box.path / "moved.eml").chmod(0o644)
    smtp.wait_count(to, 1)
    wait_for(lambda: not left(), what="it to be shown no more")

"""What else lies in pickup/ but good files: it is left alone and shown, or goes out as what it is."""

import os
import re
import time

import pytest

from tests.harness.mail import as_delivered, simple
from tests.harness.popferry import sleep
from tests.harness.process import wait_for

ODD_NAMES = [
    b"new\nline.eml",
    b"\x1b]0;title\x07\x1b[2J.eml",
    b"\xff\xfe \xc3.eml",
    "\u202eлme.eml".encode(),
    b"n" * 251 + b".eml",
    b"-rf.eml",
    b"a b\t\"c\" d=e.eml",
]


@pytest.fixture
def to(request):
    return "o-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:60]


def drop(ferry, raw, name):
    """Move a complete file in; name is bytes or text."""
    draft = ferry.home / "draft"
    draft.write_bytes(raw)
    os.rename(draft, os.path.join(os.fsencode(ferry.spool / "pickup"), os.fsencode(name)))


def mail(to, subject="odd"):
    return f"X-Receiver: <{to}@corp.example>\n".encode() + simple(subject)


def left(ferry):
    """{reason: (count, examples)} of what status says is left alone."""
    pickup = ferry.status()["hygiene"]["pickup"]
    assert pickup["left_alone"] == sum(one["count"] for one in pickup["left"])
    return {one["reason"]: (one["count"], one["examples"]) for one in pickup["left"]}


def assert_safe(text):
    """No byte of it steers a terminal: no C0 but LF, no C1, no bidi control."""
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)


@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_odd_names(ferry, smtp, to, name):
    """They are delivered; and when they can't be understood, they go back, and are shown escaped."""
    drop(ferry, mail(to), name)
    smtp.wait_count(to, 1)
    assert smtp.messages(to) == [as_delivered(simple("odd"))]
    bad = name[:251] + b".bad"
    for kept in (bad, None):
        drop(ferry, b"hopeless", name)
        box = os.fsencode(ferry.spool / "pickup")
        wait_for(lambda: os.listdir(box) and name not in os.listdir(box), what="it to go back")
        wait_for(lambda: left(ferry).get("refused", (0,))[0] == len(os.listdir(box)), what="status")
        names = set(os.listdir(box))
        assert bad in names and len(names) == (1 if kept else 2)
        assert all(one.endswith(b".bad") for one in names)
    text = ferry.ctl_ok("status")
    assert "2 left alone in pickup/: it was not understood" in text
    assert "grep pickup-refused" in text and "NAME.eml" in text
    for shown in (text, ferry.log("hygiene"), *left(ferry)["refused"][1]):
        assert_safe(shown)
    assert len(ferry.events("hygiene", "pickup-refused")) == 2


def test_left_alone_and_shown(ferry, smtp, to):
    box = ferry.spool / "pickup"
    begun = time.monotonic()
    for name in ("notes.txt", "b.EML", "c", ".draft"):
        (box / name).write_bytes(mail(to))
    (box / "empty.eml").touch()
    os.symlink("/etc/passwd", box / "link.eml")
    os.symlink("nowhere", box / "dangling.eml")
    os.mkfifo(box / "fifo.eml")
    (box / "dir.eml").mkdir()
    with open(box / "slow.eml", "wb", buffering=0) as slow:
        slow.write(b"X-Receiver: <nobody@corp.example>\n")
        want = {"name": 3, "hidden": 1, "empty": 1, "link": 2, "no-file": 2, "written": 1}
        wait_for(lambda: {r: n for r, (n, _) in left(ferry).items()} == want, what="all to be shown")
        text = ferry.ctl_ok("status")
        for words in ("2 left alone in pickup/: it is a symbolic link (", "link.eml", "(empty.eml)"):
            assert words in text
        assert "All is well" not in text
        lasting = {"link.eml", "dangling.eml", "fifo.eml", "dir.eml", "empty.eml", "notes.txt"}

        def told():
            drop(ferry, mail(to), "good.eml")  # each makes one walk more
            return [one["name"] for one in ferry.events("hygiene", "pickup-left-alone")]

        wait_for(lambda: lasting <= set(told()), 60, "all that lasts to be told", interval=1)
        for _ in range(6):  # until the next walk that nothing asked for
            sleep(1)
            names = told()
        assert sorted(names) == sorted(set(names)), "once each"
        assert "good.eml" not in names
        if time.monotonic() - begun < 60:  # what these are given
            assert not {".draft", "slow.eml"} & set(names)
        slow.write(simple("slow"))
    smtp.wait_count("nobody", 1)
    for path in box.iterdir():
        path.rmdir() if path.name == "dir.eml" else path.unlink()
    wait_for(lambda: left(ferry) == {}, what="nothing to be left")
    assert "All is well" in ferry.ctl_ok("status")


def test_found_at_once_and_by_the_walk(ferry, smtp, to, figure):
    """inotify tells of what is moved in; a link made there is found by the walk alone."""
    begun = time.monotonic()
    for n in range(8):
        drop(ferry, mail(to, f"number {n}"), "at-once.eml")
        wait_for(lambda: not (ferry.spool / "pickup/at-once.eml").exists(), interval=0.01)
    told = (time.monotonic() - begun) / 8
    (ferry.home / "kept").write_bytes(mail(to, "linked"))
    for name in ("linked.eml", "again.eml"):
        begun = time.monotonic()
        os.link(ferry.home / "kept", ferry.spool / "pickup" / name)
        wait_for(lambda: not (ferry.spool / "pickup" / name).exists(), interval=0.01)
    walked = time.monotonic() - begun  # of the second, which begins behind a walk
    figure(f"found {told:.2f} s behind the rename; by a walk {walked:.2f} s behind the link")
    assert told < walked / 2
    smtp.wait_count(to, 10)
    smtp.settle()
    want = [simple(f"number {n}") for n in range(8)] + [simple("linked")] * 2
    assert sorted(smtp.messages(to)) == sorted(map(as_delivered, want))
    assert (ferry.home / "kept").read_bytes() == mail(to, "linked")


def test_the_same_content_twice_is_two_messages(ferry, smtp, to):
    for name in ("one.eml", "two.eml", "one.eml"):
        drop(ferry, mail(to, "twice"), name)
        wait_for(lambda: not list((ferry.spool / "pickup").iterdir()), what="it to be taken")
    smtp.wait_count(to, 3)
    smtp.settle()
    assert smtp.messages(to) == [as_delivered(simple("twice"))] * 3


def test_moved_in_while_it_is_written(ferry, smtp, to):
    """A writer that keeps its descriptor over the rename, and over our restart."""
    draft, path = ferry.home / "draft", ferry.spool / "pickup/moved.eml"
    with open(draft, "wb", buffering=0) as out:
        out.write(mail(to, "moved"))
        os.rename(draft, path)
        sleep(1.5)
        out.write(b"second part\n")
        ferry.restart("hygiene")
        sleep(1.5)
        assert smtp.count(to) == 0
        out.write(b"third part\n")
    smtp.wait_count(to, 1)
    smtp.settle()
    assert smtp.messages(to) == [as_delivered(simple("moved") + b"second part\nthird part\n")]


def test_opened_again_and_again(ferry, smtp, to):
    """Each time it is closed it is complete: what arrives is what was there at some close, and what
    is appended behind the rename is another file."""
    path = ferry.spool / "pickup/log.eml"
    for n in range(40):
        with open(path, "ab", buffering=0) as out:
            out.write(mail(to, f"n{n}") if out.tell() == 0 else f"n{n} a\n".encode())
            sleep(0.02)
            out.write(f"n{n} z\n".encode())

    def closed():
        return [line for one in smtp.messages(to) for line in re.findall(rb"^n\d+ z$", one, re.M)]

    wait_for(lambda: len(closed()) >= 40, 30, "all to arrive")
    ferry.drain()
    smtp.settle()
    assert sorted(closed()) == sorted(f"n{n} z".encode() for n in range(40))
    for one in smtp.messages(to):
        assert one.endswith(b" z\n"), "half of what a writer wrote between open and close"

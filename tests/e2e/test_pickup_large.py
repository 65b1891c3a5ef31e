"""A drop of 2 GiB: hygiene answers, and takes others, while it is copied."""

import os
import time

import pytest

from tests.harness.mail import simple
from tests.harness.popferry import spool_message
from tests.harness.process import wait_for

SIZE = (1 << 31) + 11  # what an int can't count
HEAD = b"X-Receiver: <large@corp.example>\nFrom: a@origin.example\n\n"
TAIL = b"the end\n"
SOME = 40 << 20


def put(ferry):
    """A sparse file: what is read of it need not be on the disk."""
    draft = ferry.home / "draft"
    with open(draft, "wb") as out:
        out.write(HEAD)
        out.truncate(SIZE - len(TAIL))
        out.seek(0, os.SEEK_END)
        out.write(TAIL)
    os.rename(draft, ferry.spool / "pickup/large.eml")


def files(ferry, suffix):
    return [one for one in (ferry.spool / "outgoing").iterdir() if one.suffix == suffix]


def size_of(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # it has moved on


def copied(ferry):
    """How much of it, in bytes; 0 when no copy is under way."""
    return max(map(size_of, files(ferry, ".new")), default=0)


def copying(ferry, most=240):
    wait_for(lambda: copied(ferry) > SOME, most, "the copy to grow")


def drop_small(ferry, n):
    """The seconds until it is out."""
    (ferry.home / "small").write_bytes(b"X-Receiver: <a@corp.example>\n" + simple(f"small {n}"))
    begun = time.monotonic()
    os.rename(ferry.home / "small", ferry.spool / "pickup/small.eml")
    wait_for(lambda: len(files(ferry, ".eml")) > n, 60, "a small one to be out", 0.01)
    return time.monotonic() - begun


def expect_whole(path):
    assert path.stat().st_size > SIZE - len(HEAD)
    with open(path, "rb") as file:
        top = file.read(4096)
        file.seek(-len(TAIL) - 1, os.SEEK_END)
        assert file.read() == b"\0" + TAIL
    body = HEAD.partition(b"\n")[2]
    size = SIZE - len(HEAD) + len(body)
    assert b"\r\nX-Popferry-Body: %d blake2b=" % size in top
    at = top.index(body)
    assert path.stat().st_size == at + size


def test_two_gib(make_ferry, figure):
    ferry = make_ferry(25, start=False)
    space = os.statvfs(ferry.home)
    if space.f_bavail * space.f_frsize < 3 * SIZE:
        pytest.skip("it takes 6 GB of disk")
    ferry.start("hygiene")
    put(ferry)
    copying(ferry)
    begun = time.monotonic()
    assert ferry.stop("hygiene") == {"hygiene": 0}
    stopped = time.monotonic() - begun
    assert not files(ferry, ".new") and len(files(ferry, ".drop")) == 1
    ferry.start("hygiene")
    copying(ferry)
    ferry.kill("hygiene")
    assert copied(ferry) > SOME
    ferry.start("hygiene")
    copying(ferry)
    delays, answers, begun = [], [], time.monotonic()
    while copied(ferry) and len(delays) < 30:
        delays.append(drop_small(ferry, len(delays)))
        asked = time.monotonic()
        assert ferry.status()["hygiene"]["up"]
        answers.append(time.monotonic() - asked)
    beside = len(delays)
    wait_for(lambda: not files(ferry, ".new") and not files(ferry, ".drop"), 600, "all of it")
    wait_for(lambda: not any((ferry.spool / "incoming").iterdir()), 600, "all of it to be judged")
    took = time.monotonic() - begun
    figure(
        f"stopped in {stopped:.1f} s; {beside} small drops meanwhile, the slowest out in "
        f"{max(delays):.1f} s; the slowest answer {max(answers):.1f} s"
    )
    assert beside >= 5
    assert max(delays + answers) < took / 3
    [large] = [one for one in files(ferry, ".eml") if one.stat().st_size > SOME]
    expect_whole(large)
    assert len(files(ferry, ".eml")) == beside + 1
    assert spool_message(min(files(ferry, ".eml"), key=lambda one: one.stat().st_size))
    large.unlink()

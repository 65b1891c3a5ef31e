"""A ledger that is none any more: its daemon ends with 75, says which file it is, what to do and what is
lost by that, and leaves the file as it is."""

import os
import subprocess

import pytest

from tests.e2e.test_relay_disk import fill, small_disk
from tests.harness.popferry import BIN, DAEMONS, EXIT_FAILED

LOST = {"fetcherd": "the accounts", "hygiene": "why mail lies in badmail/", "relayd": "what was held"}
EX_TEMPFAIL = 75


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own takes root to mount")
@pytest.mark.parametrize("name", DAEMONS)
def test_no_room_for_it(make_ferry, name):
    """Before the first start, or behind a new version that changes it."""
    ferry = make_ferry(25, start=False)
    with small_disk(ferry) as filler:
        for path in ferry.state.glob(f"{name}.db*"):
            path.unlink()
        fill(filler, 0)
        done = subprocess.run([BIN / name, "-c", ferry.conf], capture_output=True, text=True, timeout=30)
        assert done.returncode == EX_TEMPFAIL
        assert f"{name}.db" in done.stderr and "make room" in done.stderr
        filler.unlink()
        ferry.start(name)


def garbage(path):
    path.write_bytes(os.urandom(8192))
    return path.read_bytes()


def broken_page(path):
    """The header is whole, the page of the schema is not."""
    raw = path.read_bytes()
    path.write_bytes(raw[:100] + os.urandom(1000) + raw[1100:])
    return path.read_bytes()


@pytest.mark.parametrize("damage", [garbage, broken_page])
@pytest.mark.parametrize("name", DAEMONS)
def test_it_says_what_to_do(make_ferry, name, damage):
    ferry = make_ferry(25, start=False)
    ferry.init()
    ledger = ferry.state / f"{name}.db"
    whole, broken = ledger.read_bytes(), damage(ledger)
    done = subprocess.run([BIN / name, "-c", ferry.conf], capture_output=True, text=True, timeout=30)
    assert done.returncode == EX_TEMPFAIL
    code, _, said = ferry.ctl("init")
    assert code == EXIT_FAILED
    for words in (done.stderr, said):
        assert f"{ledger} is damaged" in words and "from a backup" in words and LOST[name] in words
    assert ledger.read_bytes() == broken

    ledger.write_bytes(whole)
    ferry.start(name)
    ferry.stop(name)
    ledger.rename(ledger.with_suffix(".aside"))
    ferry.start(name)
    assert ledger.exists()

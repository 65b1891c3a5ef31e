"""What a person asks for while the disk of state-dir is full, and init while the daemons run."""

import os

import pytest

from tests.e2e.test_relay_disk import fill, small_disk
from tests.harness.mail import simple
from tests.harness.popferry import DAEMONS, DIRS, EXIT_FAILED


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own takes root to mount")
def test_fetch_is_refused_with_advice(make_ferry, smtp, pop3):
    """And fetcherd stays; once there is room, the same command works."""
    ferry = make_ferry(smtp.port, start=False)
    with small_disk(ferry) as filler:
        pop3.add_user("full-disk", "secret")
        pop3.drop("full-disk", simple("one"))
        ferry.start()
        ferry.add_account("full-disk", pop3.port, "full-disk", "secret", "full-disk@corp.example")
        fill(filler, 0)
        for words in (["full-disk"], ["--all"], ["--all", "--wait"]):
            code, _, said = ferry.ctl("fetch", *words)
            assert code == EXIT_FAILED
            assert "nothing was changed" in said and f"df {ferry.state}" in said
        assert ferry.running("fetcherd")
        filler.unlink()
        assert ferry.fetch("full-disk") == 0
        smtp.wait_count("full-disk", 1)


def test_init_while_the_daemons_run(ferry, box, smtp):
    """It asks them, changes nothing, and disturbs nobody."""
    conf = ferry.conf.read_bytes()
    pids = {name: ferry.status()[name]["pid"] for name in DAEMONS}
    ferry.ctl_ok("init")
    ferry.ctl_ok("init")
    assert all((ferry.spool / name).is_dir() for name in DIRS)
    assert ferry.conf.read_bytes() == conf
    assert {name: ferry.status()[name]["pid"] for name in DAEMONS} == pids
    assert not any(one["level"] == "alarm" for name in DAEMONS for one in ferry.events(name))
    box.drop(simple("one"))
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 1)

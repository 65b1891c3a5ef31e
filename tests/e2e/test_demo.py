"""`make run` by hand: it ends well, as root and as an ordinary user, and leaves no process."""

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.popferry import TOP, Popferry
from tests.harness.process import free_port, remove_dir, wait_for, work_dir


@pytest.fixture
def home():
    path = work_dir()
    yield path
    remove_dir(path)


def start(home, *args, user=None, **more):
    who = pwd.getpwnam(user) if user else None
    if who:
        os.chown(home, who.pw_uid, who.pw_gid)
        more |= {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
    argv = [sys.executable, "-B", "-m", "tests.demo", "--dir", home / "run", *args]
    return subprocess.Popen(
        argv, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )


def finish(process):
    out, _ = process.communicate(timeout=150)
    return process.returncode, out


def until(words, process):
    """Its lines, up to the one that has these words (or to its end)."""
    for line in process.stdout:
        yield line
        if words in line:
            return


def left_behind(home):
    """Processes whose command line names our directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(home) in line:
            found.append(line)
    return found


def test_demonstration_ends_well(home):
    code, out = finish(start(home))
    assert code == 0, out
    assert "samples are accounted for" in out
    assert left_behind(home) == []
    assert list((home / "run/servers/smtp/mail").iterdir())

    # and again, on the directory that is there already
    code, out = finish(start(home))
    assert code == 0, out


@pytest.mark.skipif(os.geteuid() != 0, reason="the whole run is that of an ordinary user")
def test_demonstration_as_ordinary_user(home):
    if not all(path.stat().st_mode & 0o005 == 0o005 for path in (TOP, *TOP.parents)):
        pytest.skip(f"{TOP} is not open to other users")
    code, out = finish(start(home, user="nobody"))
    assert code == 0, out
    assert left_behind(home) == []


def test_two_at_once_in_one_directory(home):
    first = start(home)
    wait_for(lambda: (home / "run").exists(), what="the first run to begin")
    wait_for(lambda: (home / "run/popferry.conf").exists(), what="the first run to go on")
    code, out = finish(start(home))
    assert code == 2 and "another run" in out
    first.send_signal(signal.SIGTERM)
    code, out = finish(first)
    assert code == 1 and "Stopping" in out
    assert left_behind(home) == []


def test_somebody_elses_directory_is_not_touched(home):
    (home / "run").mkdir()
    (home / "run/diary.txt").write_text("dear diary")
    code, out = finish(start(home))
    assert code == 2 and "something else" in out
    assert (home / "run/diary.txt").exists()


def test_on_a_configuration_of_ones_own(home):
    ferry = Popferry(home / "own", free_port())
    process = start(home, "--config", ferry.conf)
    began = list(until("until Ctrl-C", process))
    assert "until Ctrl-C" in began[-1], "".join(began)
    wait_for(lambda: all(up(ferry)), what="the daemons to be up")
    process.send_signal(signal.SIGINT)
    code, out = finish(process)
    assert code == 0, "".join(began) + out
    assert not any(up(ferry))
    assert left_behind(home) == []


def up(ferry):
    status = ferry.status()
    return [status[name]["up"] for name in ("fetcherd", "hygiene", "relayd")]


def test_configuration_with_a_mistake(home):
    ferry = Popferry(home / "own", free_port(), colour="blue")
    code, out = finish(start(home, "--config", ferry.conf))
    assert code == 1 and "colour" in out

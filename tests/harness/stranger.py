"""Other users, by number: they need not be in passwd. Only root can be them."""

import os
import subprocess

import pytest

DAEMON, DROPPER, GROUP = 47110, 47111, 47112  # GROUP: of those who may drop


def need_root():
    if os.geteuid() != 0:
        pytest.skip("being other users takes root")


def prefix(uid, groups=(), capabilities=()):
    """What stands before a command line so that it runs as uid, and ends with its parent."""
    caps = "".join(f",+{one}" for one in capabilities)
    return [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={uid}",
        f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups",
        f"--inh-caps=-all{caps}",
        f"--ambient-caps=-all{caps}",
        "--pdeathsig=TERM",
        "--",
    ]


def give(path, uid):
    """The tree at path to uid, as `popferryctl init --user` does."""
    for top, _, files in os.walk(path):
        for one in (top, *(os.path.join(top, name) for name in files)):
            os.lchown(one, uid, uid)


def run(uid, groups, script, *args, **more):
    """A shell script as uid; CompletedProcess."""
    argv = [*prefix(uid, groups), "sh", "-c", script, "sh", *map(str, args)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, **more)

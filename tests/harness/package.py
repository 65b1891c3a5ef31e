"""Programs of Debian packages that exclude what is installed: fetched, unpacked, never installed."""

import os
import shutil
import subprocess
from pathlib import Path

_BUILD = Path(__file__).resolve().parent.parent.parent / "build"


def unpacked(name):
    """The directory that the package `name` is unpacked in, or None when it can't be had."""
    there = _BUILD / name
    if not there.exists() and shutil.which("apt-get"):
        draft = _BUILD / f"{name}.{os.getpid()}"
        draft.mkdir(parents=True)
        fetch = ["apt-get", "-o", "APT::Sandbox::User=root", "download", name]
        subprocess.run(fetch, cwd=draft, capture_output=True, timeout=120)
        packages = list(draft.glob("*.deb"))
        for package in packages:
            subprocess.run(["dpkg-deb", "-x", package, draft], check=True)
        try:
            if packages:
                draft.rename(there)
        except OSError:  # somebody else was faster
            pass
        shutil.rmtree(draft, ignore_errors=True)
    return there if there.exists() else None

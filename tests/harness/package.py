"""Programs of Debian packages that exclude those which are installed: `make deps` fetches the
packages and takes them apart below build/, and nothing of them is installed.

    python3 -m tests.harness.package        fetches what is not there yet
"""

import os
import shutil
import subprocess
from pathlib import Path

_BUILD = Path(__file__).resolve().parent.parent.parent / "build"
PACKAGES = ("cyrus-pop3d", "exim4-daemon-light", "opensmtpd")


def unpacked(name):
    """The directory with what is in the package, or None when `make deps` has not brought it."""
    there = _BUILD / name
    return there if there.exists() else None


def _fetch(name):
    draft = _BUILD / f"{name}.{os.getpid()}"
    draft.mkdir(parents=True)
    argv = ["apt-get", "-o", "APT::Sandbox::User=root", "download", name]
    try:
        subprocess.run(argv, cwd=draft, check=True, timeout=120, stdout=subprocess.DEVNULL)
        for package in draft.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, draft], check=True)
            package.unlink()
        draft.rename(_BUILD / name)
    except (OSError, subprocess.SubprocessError) as why:
        print(f"make deps: no {name}, and no tests against it ({why});")
        print("make deps: try `apt-get update`, then `make deps` again")
    shutil.rmtree(draft, ignore_errors=True)


if __name__ == "__main__":
    for missing in (name for name in PACKAGES if not unpacked(name)):
        _fetch(missing)

"""Programs of Debian packages that exclude those which are installed, or that would be services once
they are: `make deps` fetches the packages and takes them apart below build/, and nothing of them is
installed.

    python3 -m tests.harness.package        fetches what is not there yet
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

_BUILD = Path(__file__).resolve().parent.parent.parent / "build"
_EXCLUDING = ("cyrus-pop3d", "exim4-daemon-light", "opensmtpd")
# To install one of these, or spamd, is to enable it, and where systemd runs to start it, whatever
# RUNLEVEL says.  What they need and the machine lacks is unpacked with them.
_WITH_LIBRARIES = ("rspamd", "clamav-daemon", "spamassassin")
PACKAGES = (*_EXCLUDING, *_WITH_LIBRARIES, "spamd")


def unpacked(name):
    """The directory with what is in the package, or None when `make deps` has not brought it."""
    there = _BUILD / name
    return there if there.exists() else None


def libraries(names):
    """Where ld.so finds the libraries in the unpacked packages."""
    trees = [unpacked(name) / "usr/lib" for name in names]
    places = {path.parent for tree in trees for path in tree.rglob("lib*.so*")}
    return ":".join(sorted(map(str, places)))


def _needed(name):
    """The libraries and Perl modules that installing the package would bring or renew."""
    argv = ["apt-get", "-s", "install", "--no-install-recommends", name]
    done = subprocess.run(argv, check=True, timeout=120, capture_output=True, text=True)
    return re.findall(r"(?m)^Inst (lib(?!js-|perl)\S+)", done.stdout)


def _fetch(name):
    draft = _BUILD / f"{name}.{os.getpid()}"
    draft.mkdir(parents=True)
    argv = ["apt-get", "-o", "APT::Sandbox::User=root", "download"]
    try:
        names = [name, *(_needed(name) if name in _WITH_LIBRARIES else ())]
        print(f"make deps: unpacking from Debian, below {_BUILD.name}/:", *names, flush=True)
        run = {"cwd": draft, "check": True, "timeout": 600, "stdout": subprocess.DEVNULL}
        subprocess.run([*argv, *names], **run)
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

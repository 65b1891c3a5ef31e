"""What private SMTP servers of other makes have in common: a system of their own to run in, and
one directory that all their mail arrives in."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from .postfix import DOMAIN
from .process import Process, free_port, wait_for, wait_listening

ROOT = os.geteuid() == 0
_UNSHARE = ["unshare", "-m"] if ROOT else ["unshare", "-Urm"]


@cache
def why_no_namespace():
    """Why programs can't have a view of the file system to themselves here, or None."""
    if not shutil.which("unshare"):
        return "there is no unshare(1)"
    done = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True)
    return f"unshare -m: {done.stderr.strip()}" if done.returncode else None


NAME = rb"[!-9;-~]+"  # of a field


def fields(raw, name=NAME):
    """([each field of the header with its folds], the rest) of a message with LF line ends."""
    found = []
    while match := re.match(name + rb"[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)", raw):
        found.append(match[0])
        raw = raw[match.end() :]
    return found, raw


def untraced(raw):
    """(recipient, message) of what was delivered: in front are, perhaps, Return-Path, then a field
    with the recipient, then Received."""
    head = fields(raw)[0]
    at = next(n for n, one in enumerate(head) if one.startswith(b"Received:"))
    recipient = head[at - 1].split(b":", 1)[1].strip().decode()
    return recipient, raw[sum(map(len, head[: at + 1])) :]


class Peer:
    """`with Exim(home, authority) as server:`; then server.host, server.port, server.messages(user).
    `home` is below a directory that everybody may walk through."""

    host = "127.0.0.1"
    package = None  # of Debian
    users = {}  # that it wants to find in passwd: {name: (uid, gid)}
    binds = {}  # {directory of the system: what it sees there}

    def __init__(self, home, authority):
        self.home = Path(home)
        self.port = free_port()
        for part in ("log", "mail/tmp", "mail/new"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        self.cert, self.key = self.home / "cert.pem", self.home / "key.pem"
        alt = f"DNS:localhost,IP:{self.host}"
        for path, ours in zip((self.cert, self.key), authority.issue(self.package, alt)):
            shutil.copy(ours, path)
        self.key.chmod(0o600)
        self._process = None
        self._known = {}

    @classmethod
    def why_not(cls):
        """Why it cannot run here, or None."""
        return why_no_namespace() or (
            None if cls.program() else f"the package {cls.package} is not to be had"
        )

    @classmethod
    def program(cls):
        raise NotImplementedError

    def argv(self):
        raise NotImplementedError

    def own(self, user, *parts):
        """Give files of ours, and what is below them, to a user."""
        for part in parts if ROOT else ():
            for path in [self.home / part, *(self.home / part).rglob("*")]:
                shutil.chown(path, *user)

    def _script(self):
        """Mounts what it shall see, and becomes it.  The resolver has nobody to ask."""
        lines = ["set -e"]
        for name in ("passwd", "group"):
            text = Path("/etc", name).read_text()
            for user, (uid, gid) in self.users.items():
                text += (
                    f"{user}:x:{gid}:\n"
                    if name == "group"
                    else (f"{user}:x:{uid}:{gid}::/:/bin/false\n")
                )
            (self.home / name).write_text(text)
        (self.home / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        etc = {f"/etc/{name}": name for name in ("passwd", "group", "resolv.conf")}
        for there, ours in (etc | self.binds).items():
            lines.append(f"test ! -e {there} || mount --bind {self.home / ours} {there}")
        script = self.home / "start.sh"
        script.write_text("\n".join([*lines, 'exec "$@"']) + "\n")
        return script

    def start(self):
        argv = [*_UNSHARE, "/bin/sh", self._script(), *self.argv()]
        self._process = Process(argv, self.home / "log/stdout", cwd=self.home, name=self.package)
        try:
            wait_listening(self.port, what=self.package, host=self.host)
        except AssertionError as gone:
            raise AssertionError(f"{gone}\n{self.log()}") from None
        return self

    def stop(self):
        if self._process:
            self._end()
            self._process = None

    def _end(self):
        self._process.stop()

    __enter__ = start

    def __exit__(self, *_):
        self.stop()

    def log(self):
        logs = sorted((self.home / "log").iterdir())
        return "".join(path.read_text(errors="replace") for path in logs)

    # what arrived

    def arrived(self):
        """{recipient: [message, ...]} of all that was delivered so far."""
        found = {}
        for path in sorted((self.home / "mail/new").iterdir()):
            if path not in self._known:
                self._known[path] = untraced(path.read_bytes())
            recipient, message = self._known[path]
            found.setdefault(recipient, []).append(message)
        return found

    def messages(self, user):
        return self.arrived().get(f"{user}@{DOMAIN}", [])

    def count(self, user):
        return len(self.messages(user))

    def wait_count(self, user, count, deadline=60.0):
        what = f"{count} messages for {user}"
        wait_for(lambda: self.count(user) >= count, deadline, what)

"""A private GNU Mailutils pop3d: mbox mailboxes, and virtual users with USER and PASS."""

import os
import pwd
import subprocess
from pathlib import Path

from .process import Process, free_port, wait_listening

_PROGRAM = Path("/usr/sbin/pop3d")
_CONF = """\
mode daemon;
foreground yes;
pidfile "{home}/pid";
logging {{ syslog no; }}
auth {{ authentication "generic"; authorization "virtdomain"; }}
virtdomain {{ passwd-dir "{home}/passwd"; }}
server 127.0.0.1:{port} {{ }}
"""


class Mailutils:
    """`with Mailutils(home) as server:`; users are NAME@corp.example."""

    DOMAIN = "corp.example"

    def __init__(self, home):
        self.home = Path(home)
        (self.home / "passwd").mkdir(parents=True)
        self.port = free_port()
        self._conf = self.home / "pop3d.conf"
        self._conf.write_text(_CONF.format(home=self.home, port=self.port))
        root = os.geteuid() == 0
        self._owner = pwd.getpwnam("nobody") if root else pwd.getpwuid(os.geteuid())

    @staticmethod
    def there():
        return _PROGRAM.exists()

    def start(self):
        argv = [_PROGRAM, f"--config-file={self._conf}"]
        self._process = Process(argv, self.home / "pop3d.log", name="mailutils-pop3d")
        wait_listening(self.port, what="Mailutils pop3d")
        return self

    def stop(self):
        self._process.stop()

    __enter__ = start

    def __exit__(self, *_):
        self.stop()

    def add_user(self, name, password="secret"):
        crypted = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"],
            input=password.encode(),
            capture_output=True,
            check=True,
        ).stdout.decode()
        box = self.home / name
        box.mkdir()
        (box / "INBOX").touch()
        for path in (box, box / "INBOX"):
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        ids = f"{self._owner.pw_uid}:{self._owner.pw_gid}"
        with open(self.home / "passwd" / self.DOMAIN, "a", encoding="ascii") as out:
            out.write(f"{name}:{crypted.strip()}:{ids}::{box}:/bin/false\n")
        return f"{name}@{self.DOMAIN}"

    def drop(self, name, raw):
        """Append a message, with LF line ends, to the mbox of a user (without the domain)."""
        with open(self.home / name / "INBOX", "ab") as out:
            out.write(b"From someone Mon Nov 23 08:00:00 2026\n" + raw + b"\n")

    def count(self, name):
        raw = (self.home / name / "INBOX").read_bytes()
        return (b"\n" + raw).count(b"\nFrom someone ")

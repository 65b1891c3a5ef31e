"""A private OpenSMTPD that takes mail for one domain into a directory, and sends nothing anywhere.

Debian's package excludes Postfix, so it is unpacked; the paths that are compiled in, and its users,
it finds in a namespace of its own.  As an ordinary user it runs under fakeroot.

It listens on 127.0.0.2, since what comes in on 127.0.0.1 counts as submitted locally, and gets
Date and Message-ID.  What it does to a message all the same, stored() reproduces:
  - Bcc fields go away;
  - an address in From, To or Cc without a domain gets one;
  - a line ends at a NUL.
It refuses what it holds not to be RFC 5322 (a header line without a colon, two From or To) with 550,
ends a session in which a line is too long, and takes 100 messages a session, then says 452 to MAIL.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from .mail import normalised
from .package import unpacked
from .peer import ROOT, Peer, fields
from .postfix import DOMAIN

_CONF = """\
pki mail.corp.example cert "{home}/cert.pem"
pki mail.corp.example key "{home}/key.pem"
listen on {host} port {port} tls pki mail.corp.example hostname mail.corp.example
smtp max-message-size 50M
table users {{ "@" = "nobody" }}
action "box" mda "{home}/mail" virtual <users>
match from any for domain "{domain}" action "box"
"""

_KEY = Path(__file__).with_name("opensmtpd_key.c")  # says why

# In the place of its mail.mda, which runs what the configuration says: that is our directory.
_MDA = """\
#!/bin/sh
draft=$(mktemp "$1/tmp/XXXXXXXXXX") && cat >"$draft" && mv "$draft" "$1/new/$(date +%s%N).$$"
"""


class OpenSmtpd(Peer):
    host = "127.0.0.2"
    package = "opensmtpd"
    messages_per_connection = 100
    # under fakeroot nothing can really become another user
    users = {
        "opensmtpd": (64990, 64990) if ROOT else (0, 0),
        "opensmtpq": (64991, 64991) if ROOT else (0, 0),
    }
    binds = {
        "/usr/libexec": "libexec",
        "/var/spool": "spool",
        "/var/lib": "lib",
        "/run": "run",
    }

    def __init__(self, home, authority):
        super().__init__(home, authority)
        for part in ("spool/smtpd", "lib/opensmtpd/empty", "run", "libexec"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        (self.home / "spool/smtpd").chmod(0o711)
        shutil.copytree(
            unpacked(self.package) / "usr/libexec/opensmtpd", self.home / "libexec/opensmtpd"
        )
        (self.home / "libexec/opensmtpd/mail.mda").write_text(_MDA)
        self._preload = self.home / "key.so"
        compile_it = ["cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", self._preload, _KEY, "-lssl"]
        subprocess.run(compile_it, check=True)
        self._conf = self.home / "smtpd.conf"
        self._conf.write_text(
            _CONF.format(home=self.home, host=self.host, port=self.port, domain=DOMAIN)
        )
        self.own(("nobody", "nogroup"), "mail")

    @classmethod
    def why_not(cls):
        if not ROOT and not shutil.which("fakeroot"):
            return "OpenSMTPD wants to be root: as an ordinary user it needs fakeroot"
        return super().why_not()

    @classmethod
    def program(cls):
        there = unpacked(cls.package)
        return there and there / "usr/sbin/smtpd"

    def argv(self):
        pretend = [] if ROOT else ["fakeroot", "--"]
        preload = 'export OPENSMTPD_KEY="$0" LD_PRELOAD="$1 $LD_PRELOAD"; shift; exec "$@"'
        start = ["/bin/sh", "-c", preload, self.key, self._preload]
        return [*pretend, *start, self.program(), "-d", "-f", self._conf]

    def _end(self):
        """fakeroot hands no signal on, and ends in order when its child does."""
        pid = self._process.pid
        for child in [] if ROOT else Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)
        self._process.stop() if ROOT else self._process.wait(15)

    @staticmethod
    def stored(raw):
        """The bytes it hands to a delivery for a message submitted as normalised(raw)."""
        text = re.sub(rb"\0[^\n]*", b"", normalised(raw).replace(b"\r\n", b"\n"))
        head, rest = fields(text, rb"[^\n: \t][^\n:]*")
        kept = [one for one in head if not re.match(rb"bcc[ \t]*:", one, re.I)]
        return b"".join(map(_qualified, kept)) + rest


def _qualified(field):
    if not re.match(rb"(?:from|to|cc)[ \t]*:", field, re.I):
        return field
    return re.sub(rb"<([^@<>\s]+)>", rb"<\1@mail.corp.example>", field)

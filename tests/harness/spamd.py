"""A private spamd of SpamAssassin: local tests only, nothing learned, nothing looked up.

Its rules are GTUBE and three words in the Subject: spam-some (3 points), spam-much (6), ham (-2);
5 make spam.  With whole=True they are Debian's, which take 2 s of CPU to read.
"""

from .filter import Filter, exchange

# None that asks anybody; Debian's rules want most of them.
_PLUGINS = (
    "Check MIMEHeader ReplaceTags HTTPSMismatch URIDetail BodyEval DNSEval HTMLEval HeaderEval "
    "MIMEEval RelayEval URIEval WLBLEval VBounce ImageInfo FreeMail WelcomeListSubject"
).split()

_RULES = r"""
use_bayes 0
report_contact tests
body GTUBE /XJS\*C4JDBQADN1\.NSBN3\*2IDNEN\*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL\*C\.34X/
describe GTUBE Generic Test for Unsolicited Bulk Email
score GTUBE 1000
header SPAM_SOME Subject =~ /\bspam-some\b/
score SPAM_SOME 3
header SPAM_MUCH Subject =~ /\bspam-much\b/
score SPAM_MUCH 6
header HAM Subject =~ /\bham\b/
score HAM -2
"""


def request(verb, raw=b"", headers=()):
    """The bytes that ask about a message."""
    size = [("Content-length", len(raw))] if raw else []
    lines = "".join(f"{name}: {value}\r\n" for name, value in [*headers, *size])
    return f"{verb} SPAMC/1.5\r\n{lines}\r\n".encode() + raw


class Spamd(Filter):
    packages = ("spamd", "spamassassin")

    def __init__(self, home, whole=False, children=3):
        super().__init__(home)
        self._whole, self._children = whole, children
        for part in ("rules", "site"):
            (self.home / part).mkdir()
        plugins = "".join(f"loadplugin Mail::SpamAssassin::Plugin::{one}\n" for one in _PLUGINS)
        (self.home / "site/init.pre").write_text(plugins)
        (self.home / "site/local.cf").write_text("use_bayes 0\n")
        (self.home / "rules/tests.cf").write_text(_RULES)
        for name in ("10_default_prefs.cf", "20_aux_tlds.cf"):
            (self.home / "rules" / name).write_bytes((self._share() / name).read_bytes())

    @classmethod
    def _share(cls):
        return cls.unpacked("usr/share/spamassassin", "spamassassin")

    def argv(self):
        there = self.unpacked("usr", "spamassassin")
        modules = [there / "share/perl5", *there.glob("lib/*/perl5/*")]
        rules = self._share() if self._whole else self.home / "rules"
        return [
            *("perl", "-T", *(f"-I{path}" for path in modules), self.unpacked("usr/sbin/spamd")),
            *("--local", "--nouser-config", f"--helper-home-dir={self.home}/tmp"),
            *(f"--configpath={rules}", f"--siteconfigpath={self.home}/site"),
            *("--listen", f"127.0.0.1:{self.port}", "--socketpath", self.socket),
            *("--socketmode=666", "--syslog=stderr", f"--max-children={self._children}"),
        ]

    def answers(self):
        pongs = [exchange(one, request("PING")) for one in (self.socket, self.port)]
        return all(one.startswith(b"SPAMD/1.5 0 PONG") for one in pongs)

    def ask(self, verb, raw=b"", headers=(), address=None, deadline=30):
        """(first line, {header: value}, body) of its reply.  It reads lines, and of a last one that
        has no end it waits for the end of all, whatever Content-length says."""
        address = address or self.socket
        reply = exchange(address, request(verb, raw, headers), deadline, ended=True)
        head, _, body = reply.partition(b"\r\n\r\n")
        first, *lines = head.decode().rstrip().split("\r\n")
        return first, dict(line.split(": ", 1) for line in lines), body

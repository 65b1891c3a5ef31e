"""A private Postfix that takes mail for one domain and delivers it into Maildirs.

It has its own configuration, queue, data and log, listens on loopback, and cannot send anything
anywhere.  What it refuses is decided while the test runs: a policy server in this process is
asked at each RCPT TO and at each end of message, so that `postfix.refuse(...)` acts at once, on
connections that are already open too.  As an ordinary user it runs under fakeroot.

What it is told, so that what arrives can be compared byte for byte:
  message_drop_headers, local_header_rewrite_clients, always_add_missing_headers
                                    no header is taken out, rewritten or added
  disable_mime_input_processing     the body is not looked at
  smtpd_forbid_bare_newline=reject  a bare LF is refused with 550 (it never should be sent)
  strict_rfc821_envelopes           a MAIL FROM or RCPT TO that is not RFC 5321 is a 501
What it does all the same, mail.as_delivered() reproduces.
"""

import os
import pwd
import re
import shutil
import signal
import socketserver
import threading
from dataclasses import dataclass
from pathlib import Path

from .mail import as_delivered, strip_delivery_headers
from .process import Process, Timeout, free_port, wait_for, wait_listening

DOMAIN = "corp.example"
_MASTER_PROGRAM = "/usr/lib/postfix/sbin/master"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
mail_owner = postfix
maillog_file = {home}/log/mail.log
maillog_file_prefixes = {home}/log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.corp.example
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
mynetworks = 127.0.0.0/8
relayhost =
default_transport = error:nothing leaves this machine
relay_transport = error:nothing leaves this machine
local_transport = error:no local mail
notify_classes =
biff = no
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {home}/maildirs
virtual_mailbox_maps = static:all/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
message_size_limit = {size_limit}
smtpd_recipient_restrictions =
    check_policy_service inet:127.0.0.1:{policy}, reject_unauth_destination
smtpd_end_of_data_restrictions = check_policy_service inet:127.0.0.1:{policy}
smtpd_policy_service_retry_delay = 1s
smtpd_hard_error_limit = {hard_error_limit}
smtpd_soft_error_limit = 1000
smtpd_error_sleep_time = 0
smtpd_client_event_limit_exceptions = static:all
smtpd_forbid_bare_newline = reject
smtpd_forbid_bare_newline_exclusions =
strict_rfc821_envelopes = yes
message_drop_headers =
local_header_rewrite_clients =
always_add_missing_headers = no
disable_mime_input_processing = yes
disable_mime_output_conversion = yes
header_size_limit = 10000000
line_length_limit = 20480
hopcount_limit = 1000
import_environment = MAIL_CONFIG MAIL_LOGTAG TZ LANG=C LD_PRELOAD LD_LIBRARY_PATH FAKEROOTKEY
delay_logging_resolution_limit = 3
{extra}
"""

_MASTER = """\
{port} inet n - n - {processes} smtpd
{port_tls} inet n - n - {processes} smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

# `postfix check` makes the queue's directories
_START = (
    f"chown postfix data && chown nobody maildirs && postfix check && exec {_MASTER_PROGRAM} -s"
)

# What its log says of a client that broke the protocol; the last: refused MAIL, EHLO, RSET, unknown
# commands, as its disconnect lines count them ("mail=2/3").
_PROTOCOL_ERROR = re.compile(
    r"improper command pipelining|lost connection after (?!CONNECT)|timeout after|too many errors"
    r"|non-SMTP command|: 50[0-4] |: 521 |: 555 | 5\.5\.\d |bare <LF>|Illegal address syntax"
    r"|disconnect from .*\b(?:ehlo|mail|rset|quit|noop|unknown)=\d+/\d+"
)

_SETBACK = re.compile(r": (warning|error|fatal|panic): |status=deferred|: reject: ")


@dataclass
class Rule:
    """Answer `action` where every given attribute of the policy request fits its pattern."""

    action: str
    at: str
    patterns: dict
    times: int

    def fits(self, request):
        return request.get("protocol_state") == self.at and all(
            re.search(pattern, request.get(key, ""), re.I) for key, pattern in self.patterns.items()
        )


@dataclass
class Delivery:
    """One message that arrived."""

    recipient: str
    return_path: str
    message: bytes

    @classmethod
    def parse(cls, raw):
        head = re.match(rb"Return-Path: <(.*)>\nX-Original-To: (.*)\n", raw)
        return_path, recipient = (part.decode("utf-8", "replace") for part in head.groups())
        return cls(recipient, return_path, strip_delivery_headers(raw))


class _PolicyHandler(socketserver.StreamRequestHandler):
    def handle(self):
        request = {}
        for line in self.rfile:
            text = line.decode("utf-8", "replace").rstrip("\n")
            if text:
                key, _, value = text.partition("=")
                request[key] = value
                continue
            self.wfile.write(f"action={self.server.owner._decide(request)}\n\n".encode())
            request = {}


class _PolicyServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class Postfix:
    """`with Postfix(home) as smtp:`; then smtp.port, smtp.messages(user), smtp.refuse(...).
    `cert` is (certificate, key): it offers STARTTLS then, and takes TLS at once on port_tls.
    `extra` is lines of main.cf."""

    def __init__(self, home, size_limit=50 * 1024 * 1024, hard_error_limit=5, cert=None, extra=""):
        self.home = Path(home)
        self.port, self.port_tls = free_port(), free_port()
        self.rules = []
        self.seen = []
        self._known = {}
        self._mark = 0
        self._lock = threading.Lock()
        self._process = None
        self._policy = _PolicyServer(("127.0.0.1", 0), _PolicyHandler)
        self._policy.owner = self
        threading.Thread(target=self._policy.serve_forever, daemon=True).start()
        if cert:
            extra += (
                f"\nsmtpd_tls_security_level = may\nsmtpd_tls_loglevel = 1"
                f"\nsmtpd_tls_cert_file = {cert[0]}\nsmtpd_tls_key_file = {cert[1]}"
            )
        self._write_conf(size_limit, hard_error_limit, extra)

    @staticmethod
    def why_not():
        """Why it cannot run here, or None."""
        if not Path(_MASTER_PROGRAM).exists():
            return "postfix is not installed"
        if os.geteuid() != 0 and not shutil.which("fakeroot"):
            return "Postfix's master wants to be root: as an ordinary user it needs fakeroot"
        return None

    def _write_conf(self, size_limit, hard_error_limit, extra):
        mail = pwd.getpwnam("nobody")
        for part in ("etc", "queue", "data", "log", "maildirs"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        (self.home / "etc/master.cf").write_text(
            _MASTER.format(port=self.port, port_tls=self.port_tls, processes=30)
        )
        (self.home / "etc/main.cf").write_text(
            _MAIN.format(
                home=self.home,
                domain=DOMAIN,
                uid=mail.pw_uid,
                gid=mail.pw_gid,
                size_limit=size_limit,
                hard_error_limit=hard_error_limit,
                policy=self._policy.server_address[1],
                extra=extra,
            )
        )

    def start(self):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}
        env["MAIL_CONFIG"] = str(self.home / "etc")
        pretend = [] if os.geteuid() == 0 else ["fakeroot", "--"]
        argv = [*pretend, "/bin/sh", "-c", _START]
        self._process = Process(argv, self.home / "stdout.log", env, self.home, "postfix")
        try:
            wait_listening(self.port, what="Postfix")
        except AssertionError as gone:
            raise AssertionError(f"{gone}\n{self._process.output()}{self.log()}") from None
        return self

    def down(self):
        """Stop it; start() brings it back on the same port."""
        if self._process:
            # fakeroot does not hand signals on; the pid that master wrote is right with and without
            master = int((self.home / "queue/pid/master.pid").read_text())
            if self._process.running():
                os.kill(master, signal.SIGTERM)
                wait_for(lambda: not self._process.running(), 15, "Postfix to end")
            self._process.stop()
            self._process = None

    def stop(self):
        self.down()
        self._policy.shutdown()
        self._policy.server_close()

    __enter__ = start

    def __exit__(self, *_):
        self.stop()

    def log(self):
        path = self.home / "log/mail.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # what it refuses

    def refuse(self, action, at="END-OF-MESSAGE", times=-1, **patterns):
        """Answer `action` ("550 5.7.1 no", "451 4.3.0 later") wherever the given attributes match:
        sender=, recipient=, size= (regular expressions).  `at` is RCPT or END-OF-MESSAGE, `times`
        how often before the rule wears out.  The rule, for pardon()."""
        rule = Rule(action, at, patterns, times)
        with self._lock:
            self.rules.append(rule)
        return rule

    def pardon(self, rule=None):
        """Lift one rule, or all."""
        with self._lock:
            self.rules = [one for one in self.rules if rule is not None and one is not rule]

    def _decide(self, request):
        with self._lock:
            self.seen.append(request)
            for rule in self.rules:
                if rule.times != 0 and rule.fits(request):
                    rule.times -= 1
                    return rule.action
        return "DUNNO"

    def attempts(self, at="RCPT", **patterns):
        """The policy requests seen so far that fit: each is one attempt at a delivery."""
        probe = Rule("", at, patterns, -1)
        with self._lock:
            return [request for request in self.seen if probe.fits(request)]

    @staticmethod
    def stored(raw):
        return as_delivered(raw)

    # what arrived: one Maildir for everybody, sorted by the X-Original-To that delivery puts on

    def arrived(self):
        """{recipient: [Delivery, ...]} of all that was delivered so far, oldest first."""
        found = {}
        for path in sorted((self.home / "maildirs/all/new").glob("*")):
            if path not in self._known:
                self._known[path] = Delivery.parse(path.read_bytes())
            found.setdefault(self._known[path].recipient, []).append(self._known[path])
        return found

    def deliveries(self, user):
        return self.arrived().get(f"{user}@{DOMAIN}", [])

    def count(self, user):
        return len(self.deliveries(user))

    def messages(self, user):
        """What arrived for user@DOMAIN: the bytes after the four fields that delivery puts on."""
        return [one.message for one in self.deliveries(user)]

    def return_paths(self, user):
        return [one.return_path for one in self.deliveries(user)]

    def wait_count(self, user, count, deadline=60.0):
        try:
            wait_for(lambda: self.count(user) >= count, deadline, f"{count} messages for {user}")
        except Timeout as late:
            told = f"{late}: {self.count(user)} are there, {self.queued()} in Postfix's queue"
            raise Timeout("\n".join([told, *self.setbacks()])) from None

    def queued(self):
        """How many messages are under way within Postfix."""
        return sum(
            path.is_file()
            for sub in ("incoming", "active", "deferred", "maildrop")
            for path in (self.home / "queue" / sub).rglob("*")
        )

    def setbacks(self):
        """Log lines, since begin(), in which Postfix warns of itself or puts a message off."""
        recent = self.log()[self._mark :].splitlines()
        return [line for line in recent if _SETBACK.search(line)]

    def idle(self):
        """True when no message is under way within Postfix."""
        return self.queued() == 0

    def settle(self, deadline=30.0):
        wait_for(self.idle, deadline, "Postfix to deliver what it accepted")

    def begin(self):
        """Refuse nothing, and forget what was seen: for the next test."""
        self.pardon()
        self.seen.clear()
        self._mark = len(self.log())

    def protocol_errors(self):
        """Lines of its log, since begin(), that tell of a client that broke the protocol."""
        recent = self.log()[self._mark :].splitlines()
        return [line for line in recent if _PROTOCOL_ERROR.search(line)]

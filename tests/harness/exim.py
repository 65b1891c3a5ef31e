"""A private Exim that takes mail for one domain into a Maildir, and sends nothing anywhere.

Debian's package excludes Postfix, so the one program in it is unpacked.  It wants to find the user
Debian-exim, and finds it in a passwd of its own; it runs as that user throughout.

What it does to a message whatever it is told, stored() reproduces:
  - the header section ends at the first line that is no field: a blank line is put in, and behind
    a header that has no body;
  - lines of blanks alone at the end of a header field go away.
"""

import os
import pwd
import re

from .mail import normalised
from .package import unpacked
from .peer import ROOT, Peer, fields
from .postfix import DOMAIN

_CONF = """\
primary_hostname = mail.corp.example
exim_path = {program}
spool_directory = {home}/spool
log_file_path = {home}/log/%slog
pid_file_path = {home}/spool/pid
local_interfaces = {host}
daemon_smtp_ports = {port}
tls_advertise_hosts = *
tls_certificate = {home}/cert.pem
tls_privatekey = {home}/key.pem
host_lookup =
rfc1413_hosts =
keep_environment =
acl_smtp_rcpt = rcpt
message_size_limit = 50M
deliver_drop_privilege
smtp_accept_queue_per_connection = 0
smtp_accept_max = 50
smtp_accept_queue = 0
return_path_remove = false
delivery_date_remove = false
envelope_to_remove = false
received_headers_max = 1000
begin acl
rcpt:
  accept domains = {domain}
  deny message = 5.7.1 nothing leaves this machine
begin routers
here:
  driver = accept
  domains = {domain}
  transport = maildir
nowhere:
  driver = redirect
  data = :blackhole:
begin transports
maildir:
  driver = appendfile
  directory = {home}/mail
  maildir_format
  envelope_to_add
  return_path_add
begin retry
* * F,1h,1m
"""


class Exim(Peer):
    package = "exim4-daemon-light"

    def __init__(self, home, authority):
        super().__init__(home, authority)
        owner = pwd.getpwnam("nobody") if ROOT else pwd.getpwuid(os.geteuid())
        self._ids = (owner.pw_uid, owner.pw_gid)
        self.users = {"Debian-exim": self._ids}
        (self.home / "spool").mkdir(exist_ok=True)
        self._conf = self.home / "exim.conf"
        self._conf.write_text(
            _CONF.format(
                home=self.home,
                program=self.program(),
                host=self.host,
                port=self.port,
                domain=DOMAIN,
            )
        )
        self.own(self._ids, "spool", "log", "mail", "exim.conf", "cert.pem", "key.pem")

    @classmethod
    def program(cls):
        there = unpacked(cls.package)
        return there and there / "usr/sbin/exim4"

    def argv(self):
        uid, gid = self._ids
        if ROOT:
            become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        else:  # back from the root of the namespace, which Exim refuses to be
            become = ["unshare", "-U", f"--map-user={uid}", f"--map-group={gid}"]
        return [*become, self.program(), "-C", self._conf, "-bdf", "-q1m"]

    @staticmethod
    def stored(raw):
        """The bytes it lays into the Maildir for a message submitted as normalised(raw)."""
        text = normalised(raw).replace(b"\r\n", b"\n")
        head, rest = fields(text, rb"[^\0- \x7f:]*")
        kept = b"".join(re.sub(rb"(?:\n[ \t]+)+\n\Z", b"\n", field) for field in head)
        return kept + (rest if rest.startswith(b"\n") else b"\n" + rest)

"""A private Dovecot that speaks POP3 (plain, STLS and POP3S) to mailboxes below one directory.

Runs as root (as an installed Dovecot does) and as an ordinary user (everything then runs as that
user, without chroot).  Messages are dropped into the Maildir byte for byte.
"""

import base64
import getpass
import os
import pwd
import re
import socket
import ssl
import time
from pathlib import Path

from .process import Process, free_port, wait_listening

_CONF = """\
base_dir = {home}/run
state_dir = {home}/state
instance_name = {instance}
log_path = {home}/dovecot.log
protocols = pop3{lmtp}
listen = 127.0.0.1
mail_location = maildir:~/Maildir
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
first_valid_uid = 1
{as_user}
disable_plaintext_auth = {secure_only}
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
ssl = {ssl}
{ssl_files}
passdb {{
  driver = passwd-file
  args = username_format=%u {home}/passwd/%u
}}
{tokens}
userdb {{
  driver = static
  args = uid={mail_uid} gid={mail_gid} home={home}/mail/%u
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = {port_tls}
    ssl = yes
  }}
  process_min_avail = 2
  {chroot}
}}
service pop3 {{
  process_limit = 400
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
  {chroot}
}}
service stats {{
  {chroot}
}}
"""

# For others to ask about passwords (Postfix), and for mail to come in.
_SERVICES = """\
service auth {{
  inet_listener {{
    address = 127.0.0.1
    port = {port_sasl}
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {port_lmtp}
  }}
  unix_listener {home}/lmtp {{
    mode = 0666
  }}
}}
protocol lmtp {{
  auth_username_format = %n
}}
"""


def served(raw):
    """The bytes a POP3 server gives for a Maildir file: every line ends in CRLF, the last too."""
    text = re.sub(rb"(?<!\r)\n", b"\r\n", raw)
    return text if text.endswith(b"\n") else text + b"\r\n"


class Dovecot:
    """`with Dovecot(home) as pop3:`, then pop3.add_user(), pop3.drop(), pop3.count()."""

    def __init__(
        self,
        home,
        authority=None,
        cert=None,
        secure_only=False,
        mechanisms="plain login",
        introspection=None,
        lmtp=False,
    ):
        """introspection: where to ask about OAuth 2 tokens, as a URL to which the token is added.
        lmtp: take mail on port_lmtp and on the socket `lmtp`, and questions of SASL on port_sasl.
        """
        self.home = Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o755)
        self.port, self.port_tls = free_port(), free_port()
        self.port_lmtp, self.port_sasl = free_port(), free_port()
        self.lmtp = self.home / "lmtp"
        self.passwords = {}
        self._dropped = 0
        self._process = None
        self._root = os.geteuid() == 0
        owner = pwd.getpwnam("nobody") if self._root else pwd.getpwuid(os.geteuid())
        self._uid, self._gid = owner.pw_uid, owner.pw_gid
        cert = cert or (authority.issue() if authority else None)
        self._write_conf(cert, secure_only, mechanisms, self._tokens(introspection), lmtp)

    def _tokens(self, introspection):
        if not introspection:
            return ""
        conf = self.home / "oauth2.conf"
        conf.write_text(
            f"introspection_mode = get\nintrospection_url = {introspection}\n"
            "username_attribute = username\nactive_attribute = active\nactive_value = true\n"
        )
        return (
            "passdb {\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n"
            f"  args = {conf}\n}}\n"
        )

    def _write_conf(self, cert, secure_only, mechanisms, tokens, lmtp):
        me = getpass.getuser() if not self._root else None
        group = None if self._root else _group_name(os.getegid())
        (self.home / "mail").mkdir(exist_ok=True)
        os.chown(self.home / "mail", self._uid, self._gid)
        (self.home / "passwd").mkdir(exist_ok=True)
        (self.home / "dovecot.conf").write_text(
            _CONF.format(
                home=self.home,
                instance=f"popferry-{os.getpid()}-{self.port}",
                internal=me or "dovecot",
                internal_group=group or "dovecot",
                login=me or "dovenull",
                as_user="" if self._root else f"default_vsz_limit = 0\nmail_uid = {self._uid}",
                secure_only="yes" if secure_only else "no",
                mechanisms=mechanisms,
                tokens=tokens,
                ssl="yes" if cert else "no",
                ssl_files=f"ssl_cert = <{cert[0]}\nssl_key = <{cert[1]}" if cert else "",
                mail_uid=self._uid,
                mail_gid=self._gid,
                port=self.port,
                port_tls=self.port_tls if cert else 0,
                chroot="" if self._root else "chroot =",
                lmtp=" lmtp" if lmtp else "",
            )
            + (_SERVICES.format(**vars(self)) if lmtp else "")
        )

    def start(self):
        argv = ["/usr/sbin/dovecot", "-F", "-c", self.home / "dovecot.conf"]
        self._process = Process(argv, self.home / "stdout.log", name="dovecot")
        try:
            wait_listening(self.port, what="Dovecot")
        except AssertionError as gone:
            raise AssertionError(f"{gone}\n{self._process.output()}{self.log()}") from None
        return self

    def stop(self):
        if self._process:
            self._process.stop()
            self._process = None

    __enter__ = start

    def __exit__(self, *_):
        self.stop()

    def log(self):
        path = self.home / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # mailboxes

    def add_user(self, name, password="secret"):
        """Make a mailbox, or change its password, which takes any byte but NUL."""
        secret = base64.b64encode(password.encode()).decode()
        draft = self.home / "passwd.new"
        draft.write_text(f"{name}:{{PLAIN.B64}}{secret}\n")
        if name in self.passwords:  # Dovecot looks for a newer file at most once a second
            time.sleep(1.1)
        draft.rename(self.home / "passwd" / name)
        self.passwords[name] = password
        for part in ("", "Maildir", "Maildir/cur", "Maildir/new", "Maildir/tmp"):
            path = self.home / "mail" / name / part
            path.mkdir(exist_ok=True)
            os.chown(path, self._uid, self._gid)
        return name

    def maildir(self, name):
        return self.home / "mail" / name / "Maildir"

    def drop(self, name, raw):
        """Lay message bytes into a mailbox, as they are; gives what POP3 will serve."""
        self._dropped += 1
        leaf = f"{1700000000 + self._dropped}.M{self._dropped:06d}.popferry"
        draft = self.maildir(name) / "tmp" / leaf
        draft.write_bytes(raw)
        os.chown(draft, self._uid, self._gid)
        draft.rename(self.maildir(name) / "new" / leaf)
        return served(raw)

    def count(self, name):
        """How many messages lie in the mailbox (looked up on disk, no POP3 session)."""
        box = self.maildir(name)
        return sum(len(list((box / sub).iterdir())) for sub in ("cur", "new"))

    def empty(self, name):
        for sub in ("cur", "new"):
            for path in (self.maildir(name) / sub).iterdir():
                path.unlink()

    def read(self, name):
        """Every message as the server really serves it (dot-unstuffed), by a session of ours."""
        with Pop3Reader(self.port, name, self.passwords[name]) as session:
            return [session.retr(number) for number in range(1, session.stat()[0] + 1)]


class Pop3Reader:
    """A few POP3 commands with no limit on lines: the second opinion on what is served."""

    def __init__(self, port, user, password, tls=None):
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        if tls:
            sock = ssl.create_default_context(cafile=tls).wrap_socket(
                sock, server_hostname="localhost"
            )
        self._sock, self._file = sock, sock.makefile("rb")
        self._ok()
        self.command(f"USER {user}")
        self.command(f"PASS {password}")

    def _ok(self):
        line = self._file.readline()
        if not line.startswith(b"+OK"):
            raise AssertionError(f"POP3 server said {line!r}")
        return line.decode("ascii", "replace").strip()

    def command(self, line):
        self._sock.sendall(line.encode() + b"\r\n")
        return self._ok()

    def lines(self, command):
        self.command(command)
        while (line := self._file.readline()) != b".\r\n":
            if not line:
                raise AssertionError("POP3 server closed within an answer")
            yield line[1:] if line.startswith(b".") else line

    def stat(self):
        _, count, size = self.command("STAT").split()[:3]
        return int(count), int(size)

    def retr(self, number):
        return b"".join(self.lines(f"RETR {number}"))

    def uidl(self):
        return [line.split()[1].decode() for line in self.lines("UIDL")]

    def close(self):
        try:
            self.command("QUIT")
        finally:
            self._file.close()
            self._sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _group_name(gid):
    import grp

    return grp.getgrgid(gid).gr_name

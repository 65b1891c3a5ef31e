"""A private Cyrus pop3d, for what Cyrus SASL has and Dovecot has not: NTLM, and SCRAM bound to TLS.

Debian's cyrus-pop3d and dovecot-pop3d exclude each other, so the one program that is in it is taken
out of the package and run from a directory of the tests'; the rest comes from cyrus-common.
"""

import getpass
import os
import pwd
import smtplib
import subprocess
from pathlib import Path

from .dovecot import served
from .package import unpacked
from .process import Process, free_port, wait_listening

_BIN = Path("/usr/lib/cyrus/bin")

_IMAPD_CONF = """\
configdirectory: {home}/conf
defaultpartition: default
partition-default: {home}/mail
proc_path: {home}/run/proc
mboxname_lockpath: {home}/run/lock
cyrus_user: {user}
servername: localhost
defaultdomain: {realm}
virtdomains: off
popminpoll: 0
autocreate_quota: 0
autocreate_post: yes
autocreate_users: anyone
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {home}/conf/sasldb2
sasl_mech_list: {mechanisms}
{tls}
"""

_TLS = """\
tls_server_cert: {cert}
tls_server_key: {key}
tls_versions: {versions}
"""

_CYRUS_CONF = """\
START {{
  recover cmd="{bin}/ctl_cyrusdb -r"
}}
SERVICES {{
  pop3 cmd="{pop3d} -C {home}/imapd.conf" listen="127.0.0.1:{port}" prefork=0 proto=tcp4
  {pop3s}
  lmtp cmd="{bin}/lmtpd -a -C {home}/imapd.conf" listen="127.0.0.1:{lmtp}" prefork=0 proto=tcp4
}}
EVENTS {{
}}
"""

_POP3S = 'pop3s cmd="{pop3d} -s -C {home}/imapd.conf" listen="127.0.0.1:{port}" prefork=0 proto=tcp4'


def pop3d():
    """Where the program is, or None when `make deps` has not brought it."""
    places = [_BIN / "pop3d"]
    if there := unpacked("cyrus-pop3d"):
        places.append(there / "usr/lib/cyrus/bin/pop3d")
    return next((place for place in places if place.exists()), None)


class Cyrus:
    """`with Cyrus(home) as server:`, then add_user(), drop(), count()."""

    def __init__(self, home, mechanisms="NTLM", tls=None, versions="tls1_2 tls1_3"):
        """tls: (certificate, key), by which there is `port_tls` as well."""
        self.home = Path(home)
        self.realm = "localhost"
        self.port, self.port_tls, self._lmtp = free_port(), free_port(), free_port()
        user = "cyrus" if os.geteuid() == 0 else getpass.getuser()
        self._owner = pwd.getpwnam(user)
        for part in ("conf", "mail", "run", "run/proc", "run/lock"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        self._conf = self.home / "imapd.conf"
        files = _TLS.format(cert=tls[0], key=tls[1], versions=versions) if tls else ""
        more = {"home": self.home, "user": user, "realm": self.realm, "mechanisms": mechanisms}
        self._conf.write_text(_IMAPD_CONF.format(tls=files, **more))
        where = {"home": self.home, "pop3d": pop3d()}
        pop3s = _POP3S.format(port=self.port_tls, **where) if tls else ""
        (self.home / "cyrus.conf").write_text(
            _CYRUS_CONF.format(bin=_BIN, port=self.port, pop3s=pop3s, lmtp=self._lmtp, **where)
        )
        self._own()

    def _own(self):
        if os.geteuid() == 0:
            for path in [self.home, *self.home.rglob("*")]:
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)

    def start(self):
        argv = [_BIN / "master", "-C", self._conf, "-M", self.home / "cyrus.conf", "-D"]
        argv += ["-p", self.home / "run/master.pid"]
        self._process = Process(argv, self.home / "master.log", name="cyrus-master")
        wait_listening(self.port, what="Cyrus pop3d")
        wait_listening(self._lmtp, what="Cyrus lmtpd")
        return self

    def stop(self):
        self._process.stop()

    __enter__ = start

    def __exit__(self, *_):
        self.stop()

    def add_user(self, name, password="secret"):
        argv = ["/usr/sbin/saslpasswd2", "-p", "-c", "-f", self.home / "conf/sasldb2"]
        argv += ["-u", self.realm, name]
        subprocess.run(argv, input=password.encode(), check=True, capture_output=True)
        self._own()
        return name

    def drop(self, name, raw):
        """Bring a message in by LMTP; gives what POP3 will serve of it, but for the lines that
        Cyrus puts on top."""
        with smtplib.LMTP("127.0.0.1", self._lmtp) as lmtp:
            lmtp.sendmail("from@origin.example", [name], raw)
        return served(raw)

"""What private content filters have in common: a program that was unpacked and not installed, a
port of loopback, files in one directory, and a way to hang.

They run as nobody when the tests are root, and as whoever runs the tests otherwise.  `home` is
below a directory that everybody may walk through, and its name is short, as sockets lie in it.
"""

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

from .package import libraries, unpacked
from .process import Process, free_port, wait_for

ROOT = os.geteuid() == 0

# The text that every virus scanner is asked to find, and the one that every spam filter is; in two
# pieces, so that nothing finds them here.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE" + b"-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


def exchange(address, data, deadline=30, ended=False):
    """What comes back, to the end, for bytes sent to a port of 127.0.0.1 or to a socket's path.
    ended: it is told that nothing follows them."""
    tcp = isinstance(address, int)
    address = ("127.0.0.1", address) if tcp else str(address)
    with socket.socket(socket.AF_INET if tcp else socket.AF_UNIX) as sock:
        sock.settimeout(deadline)
        sock.connect(address)
        try:
            sock.sendall(data)
            if ended:
                sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough, and has perhaps said why
        return b"".join(_received(sock))


def _received(sock):
    try:
        yield from iter(lambda: sock.recv(65536), b"")
    except ConnectionResetError:
        pass


class Filter:
    """`with Clamd(home) as server:`; then server.port, or the path server.socket where it has one;
    server.hang(), server.go_on()."""

    packages = ()  # of Debian

    def __init__(self, home):
        self.home = Path(home)
        self.port = free_port()
        self.socket = self.home / "socket"
        self._process = self._hold = None
        for part in ("log", "etc", "tmp"):
            (self.home / part).mkdir(parents=True)

    @classmethod
    def why_not(cls):
        """Why it cannot run here, or None."""
        gone = [name for name in cls.packages if not unpacked(name)]
        return f"the package {gone[0]} is not to be had" if gone else None

    @classmethod
    def unpacked(cls, path, package=None):
        return unpacked(package or cls.packages[0]) / path

    def argv(self):
        raise NotImplementedError

    def answers(self):
        """Whether it does what it is for; OSError says no, too."""
        raise NotImplementedError

    def start(self):
        become = []
        if ROOT:
            owner = pwd.getpwnam("nobody")
            for path in [self.home, *self.home.rglob("*")]:
                shutil.chown(path, owner.pw_uid, owner.pw_gid)
            become = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}"]
            become += ["--clear-groups", "--pdeathsig=TERM"]  # which goes with the user otherwise
        env = {"PATH": "/usr/bin:/bin", "LANG": "C", "LD_LIBRARY_PATH": libraries(self.packages)}
        self._process = Process(
            [*become, *self.argv()], self.home / "log/stdout", env, self.home, self.packages[0]
        )
        try:
            wait_for(self._settled, 60, f"{self._process.name} to answer")
            assert self._process.running(), f"{self._process.name} ended"
        except AssertionError as gone:
            self.stop()
            raise AssertionError(f"{gone}\n{self.log()}") from None
        return self

    def _settled(self):
        try:
            return not self._process.running() or self.answers()
        except OSError:
            return False

    def stop(self):
        if self._process:
            self.go_on()
            self._process.stop()
            self._process = None

    __enter__ = start

    def __exit__(self, *_):
        self.stop()

    def hang(self):
        """All its processes stop where they are: connections are made, and nothing is read, until
        go_on(), or until the tests die."""
        group = self._process.pid
        script = f"kill -s STOP -- -{group}; echo; read x; kill -s CONT -- -{group}"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._hold = subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True, **pipes)
        self._hold.stdout.readline()

    def go_on(self):
        if self._hold:
            self._hold.communicate()
            self._hold = None

    def log(self):
        logs = sorted((self.home / "log").iterdir())
        return "".join(path.read_text(errors="replace") for path in logs)

"""Processes, ports, places and patience: what every private server of the tests needs.

A process started here is ended by its own pid and by nothing else, and ends by itself when the
tests die.  Every wait has a deadline, and a wait that fails says what it was waiting for.
"""

import atexit
import collections
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_alive = []
_reserved = collections.deque(maxlen=200)  # sockets


class Timeout(AssertionError):
    """A wait that ran out; the message says what for."""


def wait_for(predicate, deadline=30.0, what=None, interval=0.05):
    """Poll until predicate() is true; give its value back, or raise Timeout."""
    end = time.monotonic() + deadline
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise Timeout(f"waited {deadline:g} s for {what or predicate}")
        time.sleep(interval)


def _reserve(port):
    """False when a test beside this one has got the port. A server may take seconds before it
    listens, and Postfix's (SO_REUSEPORT) does not even notice that another one does: the two share
    the connections. The name goes with this process, or by many ports later."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0popferry-tests-port-{port}")
    except OSError:
        claim.close()
        return False
    _reserved.append(claim)
    return True


def free_port():
    """A loopback TCP port that nobody listens on at this moment, and that no test beside this one
    has got. It lies below those that the kernel gives out by itself."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    low, high = (10_000, first) if first > 12_000 else (10_000, 65_000)
    while True:
        port = random.randrange(low, high)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        if _reserve(port):
            return port


def wait_listening(port, deadline=20.0, what="server", host="127.0.0.1"):
    def answers():
        try:
            socket.create_connection((host, port), timeout=1).close()
            return True
        except OSError:
            return False

    wait_for(answers, deadline, f"{what} to listen on port {port}")


def work_dir(prefix="popferry-"):
    """A fresh directory with a short name (sockets live below it: a path has 107 bytes) that
    other users may walk through (Postfix and Dovecot run as several)."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=os.environ.get("POPFERRY_TMP")))
    path.chmod(0o755)
    return path


def remove_dir(path):
    if not os.environ.get("POPFERRY_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


def _die_with_parent():
    os.setsid()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """One child in a process group of its own, its output in a file."""

    def __init__(self, argv, log, env=None, cwd=None, name=None, pass_fds=()):
        self.name = name or Path(argv[0]).name
        self.log = Path(log)
        with open(self.log, "ab") as out:
            self.popen = subprocess.Popen(
                [str(arg) for arg in argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=env,
                cwd=cwd,
                preexec_fn=_die_with_parent,
                pass_fds=pass_fds,
            )
        self.pid = self.popen.pid
        _alive.append(self)

    def running(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.running():
            os.kill(self.pid, number)

    def kill(self):
        """SIGKILL, the power cut of one process; returns when it is gone."""
        self.signal(signal.SIGKILL)
        self.popen.wait(timeout=10)
        self._forget()

    def stop(self, timeout=15.0):
        """SIGTERM, patience, then SIGKILL to its group.  The exit status, negative by signal."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout):
        """Let it end by itself, having been told to; then SIGKILL.  The exit status."""
        try:
            self.popen.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._kill_group()
            self.popen.wait(timeout=10)
        self._forget()
        return self.popen.returncode

    def _kill_group(self):
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _forget(self):
        if self in _alive:
            _alive.remove(self)

    def output(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@atexit.register
def _stop_what_is_left():
    for process in list(_alive):
        process.stop(timeout=3)

"""popferry in a directory of its own: configuration, spool, state, sockets, logs, processes.

    ferry = Popferry(work_dir(), relay_port=smtp.port)
    ferry.init(); ferry.start()
    ferry.add_account("sales", pop3.port, "sales", "secret", "sales@corp.example")
    ferry.fetch("sales")
"""

import json
import os
import re
import select
import shlex
import signal
import subprocess
import time
from pathlib import Path

from .process import Process, Timeout, wait_for

DAEMONS = ("fetcherd", "hygiene", "relayd")
DIRS = ("tmp", "incoming", "outgoing", "rejected", "badmail", "pickup")
EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_DOWN = 0, 1, 2, 69

TOP = Path(__file__).resolve().parent.parent.parent
BIN = Path(os.environ.get("POPFERRY_BIN", TOP / "build/bin"))


class Failed(AssertionError):
    """A command that should have succeeded."""


def _value(value):
    return str(value) if isinstance(value, int) else '"%s"' % str(value).replace('"', '\\"')


class Popferry:
    """One installation.  Sections of the configuration are dicts, keys with "_" for "-"."""

    def __init__(self, home, relay_port, relay=None, fetch=None, hygiene=None, env=None, **top):
        self.home = Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.spool, self.state, self.run = (self.home / part for part in ("spool", "state", "run"))
        self.conf = self.home / "popferry.conf"
        self.env = os.environ | (env or {})
        self.processes = {}
        self.run_as = []  # what stands before a daemon's command line: stranger.prefix(...)
        self.supervisor = None
        self.top = {
            "spool_dir": self.spool,
            "state_dir": self.state,
            "run_dir": self.run,
            "default_domain": "corp.example",
        } | top
        self.fetch_section = fetch or {}
        self.hygiene_section = hygiene or {}
        self.relay_section = {"host": "127.0.0.1", "port": relay_port} | (relay or {})
        self.write_conf()

    # configuration

    def write_conf(self):
        text = [f"{key.replace('_', '-')} = {_value(value)}" for key, value in self.top.items()]
        for name in ("fetch", "hygiene", "relay"):
            text.append(f"{name} {{")
            for key, value in getattr(self, name + "_section").items():
                text.append(f"  {key.replace('_', '-')} = {_value(value)}")
            text.append("}")
        self.conf.write_text("\n".join(text) + "\n")
        self.conf.chmod(0o600)

    # commands

    def ctl(self, *args, stdin="", timeout=60):
        """(exit code, standard output, standard error) of one popferryctl command."""
        done = subprocess.run(
            [BIN / "popferryctl", "-c", self.conf, *map(str, args)],
            input=stdin.encode(),
            capture_output=True,
            env=self.env,
            timeout=timeout,
        )
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return done.returncode, out, err

    def ctl_ok(self, *args, **more):
        """Its standard output; Failed when it does not exit with 0."""
        code, out, err = self.ctl(*args, **more)
        if code != EXIT_OK:
            raise Failed(f"popferryctl {shlex.join(map(str, args))}: exit {code}\n{out}{err}")
        return out

    def ctl_json(self, *args, **more):
        return json.loads(self.ctl_ok(*args, "--json", **more))

    def init(self):
        self.ctl_ok("init")
        return self

    def add_account(self, name, port, user, password, deliver_to, tls="none", more=(), host=None):
        """Without TLS, and with nothing said of it, the password goes in clear (--auth basic)."""
        where = ("--server", host or "127.0.0.1", "--port", port, "--tls", tls)
        if tls == "none" and "--auth" not in more:
            where += ("--auth", "basic")
        who = ("--user", user, "--deliver-to", deliver_to, "--password-stdin")
        self.ctl_ok("account", "add", name, *where, *who, *more, stdin=password + "\n")
        return name

    def fetch(self, *names, timeout=120):
        """Retrieve now and wait for the end of the round.  The exit code (1: a poll failed)."""
        return self.ctl("fetch", *(names or ["--all"]), "--wait", timeout=timeout)[0]

    def status(self):
        return self.ctl_json("status")

    def account(self, name):
        """The account's line in status."""
        return next(one for one in self.status()["accounts"] if one["name"] == name)

    def queue(self):
        return self.ctl_json("queue")

    def badmail(self):
        return self.ctl_json("badmail", "list")

    def setbacks(self):
        """Log lines in which a daemon warns of something, such as a session that failed, or a message
        put off: it is tried again no sooner than retry-min says."""
        lines = (line for name in DAEMONS for line in self.log(name).splitlines())
        return [line for line in lines if (parse_event(line) or {}).get("level") in ("warning", "alarm")]

    # processes

    def start(self, *names):
        for name in names or DAEMONS:
            self._spawn(name)
        return self

    def _spawn(self, name):
        """Start one daemon, and again when it ends at once, as a supervisor does: a command that
        stood in for the daemon may still hold its lock."""
        for _ in range(10):
            if self._spawn_once(name):
                return
            self.processes.pop(name).wait(5)
            time.sleep(0.2)
        raise Failed(f"{name} did not get ready:\n{self.log(name)[-3000:]}")

    def _spawn_once(self, name):
        """True when its readiness line has come."""
        ours, theirs = os.pipe()
        argv = [*self.run_as, BIN / name, "-c", self.conf, "-d", theirs]
        log = self.home / f"{name}.log"
        self.processes[name] = Process(argv, log, env=self.env, pass_fds=(theirs,))
        os.close(theirs)
        try:
            return bool(select.select([ours], [], [], 20)[0] and os.read(ours, 1))
        finally:
            os.close(ours)

    def stop(self, *names, timeout=20):
        """SIGTERM to each, then wait.  {name: exit status}."""
        names = [name for name in (names or DAEMONS) if name in self.processes]
        for name in names:
            self.processes[name].signal(signal.SIGTERM)
        return {name: self.processes.pop(name).wait(timeout) for name in names}

    def kill(self, name):
        """SIGKILL: what a power cut or the OOM killer does to one of them."""
        self.processes.pop(name).kill()

    def restart(self, *names):
        self.stop(*names)
        return self.start(*names)

    def reload(self, name):
        """SIGHUP, and wait until the configuration has been read."""
        before = len(self.events(name, "reloaded"))
        self.processes[name].signal(signal.SIGHUP)
        wait_for(lambda: len(self.events(name, "reloaded")) > before, what=f"{name} to reload")

    def running(self, name):
        return name in self.processes and self.processes[name].running()

    def log(self, name):
        path = self.home / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def events(self, name, what=None):
        """The events that a daemon has logged, [{"level", "what", key: value...}]."""
        found = (parse_event(line) for line in self.log(name).splitlines())
        return [one for one in found if one and what in (None, one["what"])]

    # what lies where

    def files(self, directory, suffix=".eml"):
        path = self.spool / directory
        return sorted(one for one in path.glob("*" + suffix)) if path.exists() else []

    def counts(self):
        return {name: len(self.files(name)) for name in DIRS}

    def in_flight(self):
        counts = self.counts()
        return sum(counts[name] for name in ("tmp", "incoming", "outgoing", "rejected", "pickup"))

    def drain(self, deadline=60.0):
        """Wait until nothing is on its way any more: all is delivered, or in badmail/."""
        try:
            wait_for(lambda: self.in_flight() == 0, deadline, "the spool to drain")
        except Timeout as late:
            raise Timeout("\n".join([f"{late}: {self.counts()}", *self.setbacks()])) from None

    def wait_badmail(self, count, deadline=30.0):
        """Wait until `badmail list` names `count` messages; the list."""
        return wait_for(
            lambda: (rows := self.badmail()) and len(rows) == count and rows,
            deadline,
            f"{count} messages in badmail",
        )

    def secrets_in_clear(self, *secrets):
        """Files below our directory (state, spool, logs, configuration) that hold a secret."""
        guilty = []
        for path in self.home.rglob("*"):
            if path.is_file():
                raw = path.read_bytes()
                guilty += [path for secret in secrets if secret.encode() in raw]
        return guilty


_EVENT = re.compile(r"^(?:\S+ )?(?P<by>\w+): (?P<level>\w+) (?P<what>[a-z0-9-]+)(?P<rest>.*)$")
_FIELD = re.compile(r' ([a-z0-9_-]+)=("(?:[^"\\]|\\.)*"|\S*)')


def parse_event(line):
    """A log line `NAME: LEVEL what key=value ...` as a dict, or None."""
    match = _EVENT.match(line)
    if not match:
        return None
    fields = {key: _plain(value) for key, value in _FIELD.findall(match["rest"])}
    return fields | {"level": match["level"], "what": match["what"]}


def _plain(value):
    return value[1:-1].replace('\\"', '"') if value.startswith('"') else value


def spool_message(path):
    """(preface lines, message bytes) of a spool file."""
    raw = Path(path).read_bytes()
    count = int(re.match(rb"X-Popferry: 1 lines=(\d+)", raw)[1])
    parts = raw.split(b"\r\n", count)
    return [line.decode("utf-8", "replace") for line in parts[:count]], parts[count]


def sleep(seconds):
    """For the few tests that show that something does NOT happen."""
    time.sleep(seconds)

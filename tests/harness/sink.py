"""Postfix's smtp-sink as an SMTP server that keeps what it is sent, one file a message.

What it refuses is fixed when it starts; refuse_from_now_on() and the like start it anew on the
same port.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .process import Process, free_port, wait_listening

_RECEIVED = re.compile(rb"Received: from [^\n]*\n\tby smtp-sink [^\n]*\n\t[^\n]*\n")


@dataclass
class Dump:
    """One message in smtp-sink's dump format: X-... lines, its Received field, the message."""

    path: Path
    sender: str
    recipients: list
    message: bytes  # with LF line ends: the sink writes no CR at all

    @classmethod
    def parse(cls, path):
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None  # a transaction that came to nothing
        received = _RECEIVED.search(raw)
        if not received:
            return None  # being written
        head = raw[: received.start()].decode("utf-8", "replace")
        sender = re.search(r"^X-Mail-Args: <(.*?)>", head, re.M)
        return cls(
            path,
            sender[1] if sender else "",
            re.findall(r"^X-Rcpt-Args: <(.*?)>", head, re.M),
            raw[received.end() :].removesuffix(
                b"\n"
            ),  # it ends each message with a line of its own
        )


class Sink:
    def __init__(self, home, port=None, options=()):
        self.home = Path(home)
        self.dump = self.home / "mail"
        self.dump.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self.home.chmod(0o755)
            self.dump.chmod(0o777)
        self.port = port or free_port()
        self.options = list(options)
        self._starts = 0
        self._process = None

    def start(self):
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self._starts += 1  # two instances may draw the same pseudo-random names
        template = f"%Y%m%d%H%M%S.{self._starts}."  # so that names sort by arrival
        argv = ["smtp-sink", *user, "-d", template, *self.options]
        env = os.environ | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ.get("PATH", "")}
        self._process = Process(
            [*argv, f"127.0.0.1:{self.port}", "100"],
            self.home / "sink.log",
            env=env,
            cwd=self.dump,
        )
        wait_listening(self.port, what="smtp-sink")
        return self

    def stop(self):
        if self._process:
            self._process.stop()
            self._process = None

    __enter__ = start

    def __exit__(self, *_):
        self.stop()

    def restart(self, *options):
        """Start anew on the same port with other options; no options: accept everything."""
        self.stop()
        self.options = list(options)
        return self.start()

    def refuse_from_now_on(self, command="DATA", reply="554 5.7.1 Refused by policy"):
        return self.restart("-f", command, "-B", reply)

    def defer_from_now_on(self, command="DATA", reply="451 4.3.0 Come back later"):
        return self.restart("-r", command, "-b", reply)

    def accept_from_now_on(self):
        return self.restart()

    def dumps(self):
        """What was accepted.  (What is refused at its final dot, command ".", leaves a one too.)"""
        found = (Dump.parse(path) for path in sorted(self.dump.iterdir()))
        return [one for one in found if one]

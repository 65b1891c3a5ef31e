"""What relayd takes of memory with a million files in outgoing/: the real relayd, alone.

    python3 -m tests.bench.queue_memory [FILES] [--dir DIR] [--deliver N]

Its resident set, now and at its peak, with an empty queue and no server; with FILES in outgoing/
and no server; behind a restart on these; and after a server has taken N of them.  A file takes a
page and an inode of DIR (/dev/shm, where it has room for them): 4 KiB each, 4 GB for a million.
"""

import argparse
import hashlib
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.harness.popferry import Popferry
from tests.harness.process import Process, free_port, wait_for, wait_listening

HALF = 384  # of the window of fresh mail: when that much waits the directory is left alone
_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BODY = b"From: a@origin.example\r\nSubject: one of many\r\n\r\nhello\r\n"
_ID = b"@" * 26
_FILE = b"\r\n".join(
    (
        b"X-Popferry: 1 lines=5 id=" + _ID + b" account=sales",
        b"X-Popferry-Origin: pop3://pop.isp.example:110/sales uidl=1 at=2026-11-22T10:00:00Z",
        b"X-Sender: <a@origin.example>",
        b"X-Receiver: <you@corp.example>",
        b"X-Popferry-Body: %d blake2b=%s"
        % (len(_BODY), hashlib.blake2b(_BODY, digest_size=32).hexdigest().encode()),
        _BODY,
    )
)


def ulid(number, ms=1_790_000_000_000):
    """The number-th id of one that came each millisecond."""
    value = (ms + number) << 80 | number
    return "".join(_BASE32[value >> shift & 31] for shift in range(125, -1, -5))


def fill(outgoing, first, last):
    """Writes messages first ... last - 1 into outgoing/, as hygiene would have left them."""
    for number in range(first, last):
        name = ulid(number)
        fd = os.open(outgoing / f"{name}.eml", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        os.write(fd, _FILE.replace(_ID, name.encode()))
        os.close(fd)


def home_for(files, *dirs):
    """A fresh directory below the first of `dirs` that has room for them; None without one."""
    for one in filter(os.path.isdir, dirs):
        room = os.statvfs(one)
        if room.f_bavail * room.f_frsize > files * 6144 and room.f_favail > files * 1.05:
            return Path(tempfile.mkdtemp(prefix="popferry-", dir=one))
    return None


@dataclass
class Memory:
    now: int  # KiB, as the peak
    peak: int

    @classmethod
    def of(cls, pid):
        text = Path(f"/proc/{pid}/status").read_text()
        found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", text, re.M))
        return cls(int(found["VmRSS"]), int(found["VmHWM"]))


class Bench:
    """relayd before a server that is down until serve() is called."""

    def __init__(self, home):
        self.port = free_port()
        self.ferry = Popferry(home, self.port, relay={"retry_min": "1s", "retry_max": "1s"}).init()
        self.sink = None

    @property
    def outgoing(self):
        return self.ferry.spool / "outgoing"

    def start(self):
        self.ferry.start("relayd")

    def restart(self):
        self.ferry.restart("relayd")

    def stop(self):
        self.ferry.stop("relayd")
        if self.sink:
            self.sink.stop()

    def memory(self):
        return Memory.of(self.ferry.processes["relayd"].pid)

    def state(self):
        return self.ferry.status()["relayd"]

    def wait_window(self, files):
        """Until the circuit is open, and of `files` in the directory it has read what it wants, and
        listed a page of them."""

        def filled():
            state = self.state()
            return state["circuit"] == "open" and state["queue"]["ready"] >= min(files, HALF)

        wait_for(filled, 120, "the window to fill and the circuit to open")
        self.ferry.ctl_ok("queue")

    def serve(self, count, deadline=600):
        """Until a server that takes everything has taken `count` more.  Messages a second."""
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        argv = ["/usr/sbin/smtp-sink", *user, f"127.0.0.1:{self.port}", "100"]
        self.sink = Process(argv, self.ferry.home / "sink.log")
        wait_listening(self.port, what="smtp-sink")
        began = time.monotonic()
        wait_for(
            lambda: self.state()["delivered"] >= count,
            deadline,
            f"{count} messages to be taken",
            0.5,
        )
        return count / (time.monotonic() - began)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("files", nargs="?", type=int, default=1_000_000)
    options.add_argument("--dir", default="/dev/shm")
    options.add_argument("--deliver", type=int, default=20_000)
    chosen = options.parse_args()
    home = home_for(chosen.files, chosen.dir)
    if not home:
        options.error(f"{chosen.dir} has no room for {chosen.files} files")
    bench = Bench(home)

    def show(what):
        memory = bench.memory()
        print(f"{what:<58} {memory.now:>7} KiB now {memory.peak:>7} KiB peak", flush=True)

    try:
        bench.start()
        bench.wait_window(0)
        show("empty queue, no server")
        began = time.monotonic()
        fill(bench.outgoing, 0, chosen.files)
        print(f"{chosen.files} files written in {time.monotonic() - began:.0f} s", flush=True)
        bench.wait_window(chosen.files)
        show(f"{chosen.files} files, no server")
        bench.restart()
        bench.wait_window(chosen.files)
        show("the same behind a restart")
        count = min(chosen.deliver, chosen.files)
        rate = bench.serve(count)
        show(f"{count} of them taken by a server, {rate:.0f} a second")
    finally:
        bench.stop()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()

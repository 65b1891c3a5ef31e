"""A thousand mailboxes on one fetcherd, over TLS."""

import os
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.harness.many import ManyPop3
from tests.harness.process import free_port, wait_for
from tests.harness.scripted import ScriptedSmtp

ACCOUNTS = 1000
PORTS = 20  # with four sessions at each there is room for more than
SESSIONS = 64
ROUNDS = 20
FETCH = {"interval": "5m", "sessions": SESSIONS, "timeout": "30s"}
MEMORY, GROWTH = 64, 4  # MiB
NAMES = [f"u{n}" for n in range(ACCOUNTS)]
TROUBLE = ("hangs", "refuses")


@pytest.fixture(scope="module")
def server(authority):
    with ManyPop3(*authority.issue(), PORTS) as server:
        yield server


def add_accounts(ferry, server):
    def add(n):
        port, to = server.ports[n % PORTS], f"u{n}@corp.example"
        ferry.add_account(f"u{n}", port, f"u{n}", "secret", to, tls="implicit")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add, range(ACCOUNTS)))
    ferry.add_account("hangs", server.hanging_port, "u", "secret", "u@corp.example")
    ferry.add_account("refuses", free_port(), "u", "secret", "u@corp.example")


def all_due(ferry):
    """As if none had ever been polled, all become due by the clock soon behind the next start."""
    at = int(1000 * time.time()) + 3000
    with closing(sqlite3.connect(ferry.state / "fetcherd.db")) as db, db:
        db.execute("UPDATE account SET last_ok = 0, next_poll = ?", [at])


def polled(ferry):
    return sum(one["last_ok"] is not None for one in ferry.ctl_json("account", "list"))


class Usage:
    """What a process holds, once it has come to rest: a count of each kind of descriptor, but for
    the transcript of the poll that hangs, which one by the clock has not."""

    def __init__(self, process):
        self._proc = f"/proc/{process.pid}"
        self.descriptors = None
        wait_for(self._unchanged, what="a steady number of descriptors", interval=0.5)
        with open(f"{self._proc}/status", encoding="ascii") as status:
            fields = dict(line.split(":", 1) for line in status)
        self.memory, self.most = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))

    def _count(self):
        with open(f"{self._proc}/net/tcp", encoding="ascii") as table:
            tcp = {f"socket:[{line.split()[9]}]" for line in list(table)[1:]}
        links = [link for fd in os.listdir(f"{self._proc}/fd") if (link := self._link(fd))]
        return Counter("tcp" if link in tcp else link.partition(":[")[0] for link in links if not link.endswith("/hangs.log"))

    def _link(self, fd):
        try:
            return os.readlink(f"{self._proc}/fd/{fd}")
        except FileNotFoundError:
            return None

    def _unchanged(self):
        before, self.descriptors = self.descriptors, self._count()
        return before == self.descriptors

    def __str__(self):
        return f"{self.descriptors.total()} descriptors, {self.memory:.0f} MiB resident"


def round_by_hand(ferry, server):
    """Everybody once; the seconds that it took. One server hangs all the while."""
    ferry.ctl_ok("fetch", *TROUBLE)
    begun = time.monotonic()
    assert ferry.fetch(*NAMES) == 0
    took = time.monotonic() - begun
    wait_for(lambda: server.stats()["hanging"] == 1, what="the poll that hangs")
    return took


def test_a_thousand_accounts(make_ferry, authority, server, figure):
    """All by the clock, then twenty rounds by hand, beside a server that hangs and one that
    refuses: every round is done while the one still hangs. 64 sessions are open at once, and never
    more."""
    with ScriptedSmtp() as smtp:
        env = {"SSL_CERT_FILE": str(authority.cert)}
        ferry = make_ferry(smtp.port, fetch=FETCH, env=env)
        add_accounts(ferry, server)
        ferry.stop("fetcherd")
        all_due(ferry)
        before = server.fill(10)["sessions"]  # mail for each tenth
        server.hold(SESSIONS)
        ferry.start("fetcherd")
        process = ferry.processes["fetcherd"]
        wait_for(lambda: server.stats()["hanging"], what="the first poll by the clock")
        begun = time.monotonic()
        wait_for(lambda: polled(ferry) == ACCOUNTS, 120, "all to be polled", 0.5)
        figure(f"{ACCOUNTS} accounts polled by the clock in {time.monotonic() - begun:.1f} s")
        stats = server.fill(0)
        assert stats["sessions"] == before + ACCOUNTS
        assert stats["hanging"] == 1
        ferry.drain()
        assert sorted(to for _, [to], _ in smtp.accepted) == sorted(
            f"u{n}@corp.example" for n in range(0, ACCOUNTS, 10)
        )

        slowest = round_by_hand(ferry, server)
        first = Usage(process)
        for _ in range(1, ROUNDS):
            slowest = max(slowest, round_by_hand(ferry, server))
        last, stats = Usage(process), server.stats()
        figure(f"{ROUNDS} rounds by hand, the slowest {slowest:.1f} s; {stats}")
        figure(f"fetcherd after the first: {first}; after the last: {last}, at most {last.most:.0f}")
        assert stats["sessions"] == before + (1 + ROUNDS) * ACCOUNTS
        assert stats["most_at_once"] == SESSIONS
        assert stats["most_at_one_port"] == 4
        assert last.descriptors == first.descriptors
        assert last.most < MEMORY
        assert last.memory < first.memory + GROWTH
        assert ferry.account("refuses")["failures"] >= ROUNDS

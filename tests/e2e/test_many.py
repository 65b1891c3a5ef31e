"""A thousand mailboxes on one fetcherd, over TLS."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.many import ManyPop3
from tests.harness.process import free_port
from tests.harness.scripted import HANG, ScriptedPop3, ScriptedSmtp

ACCOUNTS = 1000
PORTS = 20
SESSIONS = 64
ROUNDS = 20  # of a part of the accounts, behind one of them all
MEMORY = 128  # MiB


@pytest.fixture(scope="module")
def server(authority):
    with ManyPop3(*authority.issue(), PORTS) as server:
        yield server


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def resident(process):
    """MiB, now and at most."""
    with open(f"/proc/{process.pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return [int(fields[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM")]


def test_a_thousand_accounts(make_ferry, authority, server):
    """All are polled in one round, beside a server that hangs and one that refuses."""
    trust = {"SSL_CERT_FILE": str(authority.cert)}
    fetch = {"sessions": SESSIONS, "connect_timeout": "20s", "timeout": "20s"}
    with ScriptedSmtp() as smtp, ScriptedPop3([], {"GREETING": HANG}) as hanging:
        ferry = make_ferry(smtp.port, fetch=fetch, env=trust)
        process = ferry.processes["fetcherd"]

        def add(n):
            port, to = server.ports[n % PORTS], f"u{n}@corp.example"
            ferry.add_account(f"u{n}", port, f"u{n}", "secret", to, tls="implicit")

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(add, range(ACCOUNTS)))
        ferry.add_account("hangs", hanging.port, "u", "secret", "u@corp.example")
        ferry.add_account("refuses", free_port(), "u", "secret", "u@corp.example")

        server.fill(10)  # mail for each tenth
        everybody = [f"u{n}" for n in range(ACCOUNTS)]
        ferry.ctl_ok("fetch", "hangs", "refuses")
        begun = time.monotonic()
        assert ferry.fetch(*everybody) == 0
        took = time.monotonic() - begun
        stats = server.fill(0)
        ferry.drain()
        print(f"{ACCOUNTS} accounts in {took:.1f} s, {stats}")
        assert sorted(to for _, [to], _ in smtp.accepted) == sorted(
            f"u{n}@corp.example" for n in range(0, ACCOUNTS, 10)
        )
        assert 40 <= stats["most_at_once"] <= SESSIONS
        assert stats["most_at_one_port"] <= 4
        assert took < 60
        assert len(hanging.conversations) == 1

        some = everybody[:250]
        ferry.fetch(*some)
        before = descriptors(process)
        for _ in range(ROUNDS):
            assert ferry.fetch(*some) == 0
        now, most = resident(process)
        print(f"descriptors {before}, then {descriptors(process)}; memory {now} MiB, most {most}")
        assert descriptors(process) <= before + 2
        assert most < MEMORY

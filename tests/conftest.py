"""Servers and installations for the tests.

One Dovecot, one Postfix and one of each content filter serve a whole run; every test has mailboxes
of its own on them, and popferry in a directory of its own.  POPFERRY_KEEP=1 keeps the directories;
POPFERRY_BIN names other programs than build/bin; with POPFERRY_REQUIRE_ALL=1 a missing server fails
its tests.
"""

import itertools
import re
import signal
import threading

import pytest

from tests.harness.ca import Authority
from tests.harness.clamd import Clamd
from tests.harness.dovecot import Dovecot
from tests.harness.need import missing
from tests.harness.popferry import BIN, DAEMONS, Popferry
from tests.harness.postfix import DOMAIN, Postfix
from tests.harness.process import remove_dir, work_dir
from tests.harness.quarantine import Quarantine
from tests.harness.rspamd import Rspamd
from tests.harness.spamd import Spamd

_numbers = itertools.count(1)


def pytest_configure():
    """SIGTERM (of `timeout`, of CI) ends a run as Ctrl-C does: every server is stopped. A worker may
    be set up beside its main thread, where this can't be asked for."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.when == "call":
        item.failed = report.failed


@pytest.fixture
def figure(record_property):
    """figure("..."): what a test has measured, told at the end of the run."""
    return lambda text: record_property("figure", text)


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for _, text in report.user_properties:
            terminalreporter.line(f"{report.nodeid.rpartition('::')[2]}: {text}")


@pytest.fixture(scope="session", autouse=True)
def programs():
    missing = [name for name in (*DAEMONS, "popferryctl") if not (BIN / name).exists()]
    if missing:
        pytest.exit(f"not built: {', '.join(missing)} (run make all)", returncode=2)


@pytest.fixture(scope="session")
def place():
    path = work_dir()
    yield path
    remove_dir(path)


@pytest.fixture(scope="session")
def authority(place):
    return Authority(place / "ca")


@pytest.fixture(scope="session")
def pop3(place, authority):
    with Dovecot(place / "pop3", authority) as server:
        yield server


@pytest.fixture(scope="session")
def postfix(place):
    reason = Postfix.why_not()
    if reason:
        missing(reason)
    with Postfix(place / "smtp") as server:
        yield server


@pytest.fixture
def smtp(postfix):
    """The run's Postfix, refusing nothing, and knowing nothing of earlier tests."""
    postfix.begin()
    return postfix


@pytest.fixture(scope="session")
def filters(place):
    """filters(Clamd, ...): started at the first use with these arguments."""
    started = {}

    def get(make, **more):
        if reason := make.why_not():
            missing(reason)
        key = (make, *sorted(more.items()))
        if key not in started:
            started[key] = make(place / f"filter{len(started)}", **more).start()
        return started[key]

    yield get
    for server in started.values():
        server.stop()


@pytest.fixture
def rspamd(filters):
    return filters(Rspamd)


@pytest.fixture
def clamd(filters):
    return filters(Clamd)


@pytest.fixture
def spamd(filters):
    return filters(Spamd)


class Box:
    """A POP3 mailbox, the account that reads it, and the address where its mail shall arrive."""

    def __init__(self, name, ferry, pop3, smtp, password="secret"):
        self.name, self.address = name, f"{name}@{DOMAIN}"
        self._pop3, self._smtp = pop3, smtp
        self.sent = []
        pop3.add_user(name, password)
        ferry.add_account(name, pop3.port, name, password, self.address)

    def drop(self, *raws):
        self.sent += [self._pop3.drop(self.name, raw) for raw in raws]
        return self

    def on_server(self):
        return self._pop3.count(self.name)

    def arrived(self):
        return self._smtp.messages(self.name)


@pytest.fixture
def make_ferry(request, place):
    """make_ferry(port, fetch={...}, relay={...}, start=True): stopped at the end of the test."""
    made = []

    def make(relay_port, start=True, **more):
        ferry = Popferry(place / f"f{next(_numbers)}", relay_port, **more).init()
        made.append(ferry)
        return ferry.start() if start else ferry

    yield make
    for ferry in made:
        ended = ferry.stop()
        if getattr(request.node, "failed", False):
            for name in DAEMONS:
                print(f"--- {name} in {ferry.home}\n{ferry.log(name)[-6000:]}")
        else:
            assert not any(ended.values()), f"a daemon did not stop in order: {ended}"


@pytest.fixture
def ferry(make_ferry, smtp):
    """The usual one: all three daemons up, relaying to Postfix."""
    return make_ferry(smtp.port)


@pytest.fixture
def quarantine(make_ferry):
    """quarantine({"acc": [bytes, ...]}, reviewer="..."): fetched, and rejected by a filter."""
    made = []

    def make(messages, **more):
        made.append(Quarantine(make_ferry, messages, **more))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def make_box(request, pop3, postfix):
    """make_box(ferry): a fresh mailbox with its account."""

    def make(ferry, **more):
        slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:30].strip("-")
        return Box(f"{slug}-{next(_numbers)}", ferry, pop3, postfix, **more)

    return make


@pytest.fixture
def box(ferry, make_box):
    return make_box(ferry)

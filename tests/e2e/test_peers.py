"""Real SMTP and LMTP servers of four makes: what is sent arrives, byte for byte."""

import re
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.harness.capture import Recorder
from tests.harness.dovecot import Dovecot
from tests.harness.exim import Exim
from tests.harness.mail import corpus, normalised, odd_shapes, simple
from tests.harness.need import missing
from tests.harness.opensmtpd import OpenSmtpd
from tests.harness.peer import untraced
from tests.harness.popferry import spool_message
from tests.harness.postfix import Postfix
from tests.harness.process import wait_for

CORPUS = [raw for _, raw in corpus()]


class TlsPostfix(Postfix):
    """A Postfix with STARTTLS, and with TLS from the first byte on port_tls."""

    host, package = "127.0.0.1", "postfix"

    def __init__(self, home, authority, **more):
        super().__init__(home, cert=authority.issue("postfix"), **more)


@pytest.fixture(scope="module")
def peers(place, authority):
    """peers(make): one server of that make for all tests here."""
    running = {}

    def get(make):
        if make not in running:
            if reason := make.why_not():
                missing(reason)
            running[make] = make(place / f"peer-{make.package}", authority).start()
        return running[make]

    yield get
    for server in running.values():
        server.stop()


@pytest.fixture
def to_peer(make_ferry, authority):
    """to_peer(server, ...): popferry that relays there, and trusts our authority."""

    def make(server, **relay):
        tls = relay.get("tls", "none")
        fetch = {"received_by": relay.pop("received_by", "")}
        if tls != "none":
            relay["ca"] = str(authority.cert)
        port = relay.pop("port", server.port_tls if tls == "implicit" else server.port)
        return make_ferry(port, fetch=fetch, relay={"host": server.host} | relay)

    return make


@pytest.fixture
def user(request, pop3):
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).strip("-")
    return pop3.add_user(name[:60])


def fetched(ferry, pop3, user, messages):
    """Brings messages in by POP3, for USER@corp.example; what POP3 gave of them."""
    served = [pop3.drop(user, raw) for raw in messages]
    ferry.add_account(user, pop3.port, user, "secret", f"{user}@corp.example")
    assert ferry.fetch(user) == 0
    return served


def pick_up(ferry, name, raw, recipients, sender="from@origin.example"):
    head = f"X-Sender: <{sender}>\r\n" + "".join(f"X-Receiver: <{one}>\r\n" for one in recipients)
    draft = ferry.spool / "pickup" / f"{name}.part"
    draft.write_bytes(head.encode() + raw)
    draft.rename(draft.with_suffix(".eml"))


def quarantined(ferry):
    """The messages in badmail/, as POP3 gave them."""
    return [spool_message(path)[1] for path in ferry.files("badmail")]


def assert_stored(server, user, sent):
    """Exactly these messages arrived, each once, in any order."""
    server.wait_count(user, len(sent))
    want, got = Counter(map(server.stored, sent)), Counter(server.messages(user))
    lost, odd = want - got, got - want
    assert not lost and not odd, (
        f"{lost.total()} of {len(sent)} lost or altered, {odd.total()} unexpected;"
        f" first lost {next(iter(lost), b'')!r:.500}; first odd {next(iter(odd), b'')!r:.500}"
    )


def all_of_it(ferry, pop3, server, user, messages, refused=0):
    """Sends them; each is stored or quarantined, `refused` of them the latter."""
    started = time.monotonic()
    sent = Counter(fetched(ferry, pop3, user, messages))
    ferry.drain(90)
    ferry.wait_badmail(refused) if refused else None
    kept = Counter(quarantined(ferry))
    assert kept.total() == refused and not kept - sent
    assert_stored(server, user, list((sent - kept).elements()))
    assert not ferry.events("relayd", "relay-failed")
    took = time.monotonic() - started
    print(f"{server.package}: {sent.total()} sent, {refused} refused, in {took:.1f} s")


@pytest.mark.parametrize("tls", ["none", "starttls", "implicit"])
def test_postfix(peers, to_peer, pop3, user, tls):
    server = peers(TlsPostfix)
    server.begin()
    ferry = to_peer(server, tls=tls)
    all_of_it(ferry, pop3, server, user, CORPUS)
    assert server.protocol_errors() == []
    ways = {one["encryption_protocol"] for one in server.attempts(recipient=user)}
    assert ways == ({""} if tls == "none" else {"TLSv1.3"})


def test_postfix_without_chunking(place, authority, to_peer, pop3, user):
    """DATA in the place of BDAT: the same arrives, and what is odd too."""
    extra = "smtpd_discard_ehlo_keywords = chunking, pipelining, dsn, silent-discard"
    with TlsPostfix(place / "peer-data", authority, extra=extra) as server:
        messages = CORPUS + [raw for _, raw in odd_shapes()]
        all_of_it(to_peer(server, tls="starttls"), pop3, server, user, messages)
        assert server.protocol_errors() == []


@pytest.mark.parametrize("tls", ["none", "starttls"])
def test_exim(peers, to_peer, pop3, user, tls):
    """It ends a session after four protocol errors, and offers CHUNKING."""
    server = peers(Exim)
    all_of_it(to_peer(server, tls=tls), pop3, server, user, CORPUS)
    assert "unexpected" not in server.log() and "synchronization" not in server.log()
    assert ("X=TLS1.3" in server.log()) == (tls == "starttls")


def test_exim_odd_shapes(peers, to_peer, pop3, user):
    server = peers(Exim)
    all_of_it(to_peer(server), pop3, server, user, [raw for _, raw in odd_shapes()])


NOT_RFC_5322 = 7  # of the corpus, to OpenSMTPD


@pytest.mark.parametrize("tls", ["none", "starttls"])
def test_opensmtpd(peers, to_peer, pop3, user, tls):
    """It has no PIPELINING, CHUNKING, SMTPUTF8; what it refuses is in badmail with its words."""
    server = peers(OpenSmtpd)
    ferry = to_peer(server, tls=tls, sessions=2)
    all_of_it(ferry, pop3, server, user, CORPUS, refused=NOT_RFC_5322 + 1)
    reasons = sorted(one["reason"] for one in ferry.badmail())
    assert all("Message is not RFC 2822 compliant" in one for one in reasons[:NOT_RFC_5322])
    assert "does not offer SMTPUTF8" in reasons[-1]


def test_opensmtpd_takes_a_hundred_a_session(peers, to_peer, pop3, user):
    """Then it says 452 to each MAIL: one session more, and nothing waits for a retry."""
    server = peers(OpenSmtpd)
    ferry = to_peer(server, sessions=1)
    count = 2 * server.messages_per_connection + 20
    all_of_it(ferry, pop3, server, user, [simple(f"number {n}") for n in range(count)])
    assert not ferry.events("relayd", "deferred")


def test_opensmtpd_ends_the_session_in_a_long_line(peers, to_peer, pop3, user):
    """It closes in the midst of the message: that one is quarantined, those behind it arrive."""
    server = peers(OpenSmtpd)
    ferry = to_peer(server, sessions=1, retry_min="1s", retry_max="1s")
    poison = simple("long", body="l" * 70000 + "\n")
    good = [simple(f"number {n}") for n in range(5)]
    sent = fetched(ferry, pop3, user, [poison, *good])
    server.wait_count(user, 5)
    assert_stored(server, user, sent[1:])
    (kept,) = ferry.wait_badmail(1)
    assert kept["reason"] == "500 5.0.0 Line too long"
    assert quarantined(ferry) == sent[:1]


# --- what is used where it is offered ------------------------------------------------------


@pytest.mark.parametrize("chunking", [True, False])
def test_chunking(place, authority, to_peer, pop3, user, chunking):
    """BDAT where it is offered, and not where it is not."""
    some = [raw for raw in CORPUS[:30] if not raw.startswith(b"From ")]  # those go by DATA
    extra = "" if chunking else "smtpd_discard_ehlo_keywords = chunking, silent-discard"
    with TlsPostfix(place / f"peer-c{chunking:d}", authority, extra=extra) as server:
        with Recorder(server.port) as wire:
            server.port = wire.port
            ferry = to_peer(server)
            all_of_it(ferry, pop3, server, user, some)
            verbs = set(re.findall(rb"(?m)^(DATA|BDAT|DATA )\b", wire.sent))
        assert verbs == ({b"BDAT"} if chunking else {b"DATA"})


UTF8 = "jörg@corp.example"


def test_smtputf8(peers, to_peer):
    """Asked for where an address needs it, and nowhere else."""
    server = peers(TlsPostfix)
    server.begin()
    with Recorder(server.port) as wire:
        ferry = to_peer(server, port=wire.port)
        raw = normalised(simple("Grüße"))
        pick_up(ferry, "utf8", raw, [UTF8], sender="müller@origin.example")
        pick_up(ferry, "ascii", raw, ["utf8-ascii@corp.example"])
        assert_stored(server, "jörg", [raw])
        assert_stored(server, "utf8-ascii", [raw])
        mails = sorted(re.findall(rb"(?m)^MAIL FROM:[^\r]*", wire.sent))
    assert [b"SMTPUTF8" in one for one in mails] == [False, True]
    assert server.return_paths("jörg") == ["müller@origin.example"]
    assert server.protocol_errors() == []


def test_a_server_without_smtputf8(peers, to_peer):
    """One of two recipients can't be told: the other one gets it, that one's copy is kept."""
    server = peers(OpenSmtpd)
    ferry = to_peer(server)
    raw = normalised(simple("half"))
    pick_up(ferry, "half", raw, ["plain-one@corp.example", UTF8])
    assert_stored(server, "plain-one", [raw])
    (kept,) = ferry.wait_badmail(1)
    assert kept["recipients"] == [UTF8] and "SMTPUTF8" in kept["reason"]


# --- XCLIENT and XFORWARD ------------------------------------------------------------------

BY = "mx.isp.example"


def came_from(address, name, helo, subject):
    """A message as the account's own server took it from a client."""
    trace = f"Received: from {helo} ({name} [{address}])\r\n\tby {BY} with ESMTP id 1;\r\n"
    return (trace + "\tMon, 23 Nov 2026 10:00:00 +0000\r\n").encode() + normalised(simple(subject))


CLIENTS = {
    "one": ("192.0.2.7", "mail.one.example", "helo.one.example"),
    "two": ("198.51.100.9", "unknown", "two.example"),
    "six": ("IPv6:2001:db8::6", "mail.six.example", "six.example"),
}


def send_from_clients(ferry, user, rounds=4):
    """Some from each client, and some of our own."""
    sent = []
    for n in range(rounds):
        for name, client in CLIENTS.items():
            sent.append(came_from(*client, f"{name} {n}"))
            pick_up(ferry, f"{name}-{n}", sent[-1], [user], sender=f"{name}@origin.example")
        sent.append(normalised(simple(f"own {n}")))
        pick_up(ferry, f"own-{n}", sent[-1], [user], sender="own@origin.example")
    return sent


@pytest.mark.parametrize("tls", ["none", "starttls"])
def test_xclient(place, authority, to_peer, tls):
    """Postfix takes the true client for the one that it talks to: SPF and the like see that."""
    extra = "inet_protocols = all\nsmtpd_authorized_xclient_hosts = 127.0.0.0/8"
    with TlsPostfix(place / f"peer-xclient-{tls}", authority, extra=extra) as server:
        ferry = to_peer(server, client="xclient", received_by=BY, tls=tls, sessions=2)
        sent = send_from_clients(ferry, "x@corp.example")
        assert_stored(server, "x", sent)
        seen = {one["sender"]: one for one in server.attempts()}
        for name, (address, host, helo) in CLIENTS.items():
            one = seen[f"{name}@origin.example"]
            assert one["client_address"] == address.removeprefix("IPv6:")
            assert one["client_name"] == host and one["helo_name"] == helo
        assert seen["own@origin.example"]["client_address"] == "127.0.0.1"
        assert server.protocol_errors() == []


def test_xclient_is_off_by_default(place, authority, to_peer):
    extra = "smtpd_authorized_xclient_hosts = 127.0.0.0/8"
    with TlsPostfix(place / "peer-xclient-off", authority, extra=extra) as server:
        ferry = to_peer(server)
        sent = send_from_clients(ferry, "x@corp.example", 1)
        assert_stored(server, "x", sent)
        assert {one["client_address"] for one in server.attempts()} == {"127.0.0.1"}


def test_xclient_that_is_not_allowed(peers, to_peer):
    """It is not offered to us: the mail goes without, and the server's log shows no error."""
    server = peers(TlsPostfix)
    server.begin()
    ferry = to_peer(server, client="xclient", received_by=BY)
    assert_stored(server, "x", send_from_clients(ferry, "x@corp.example"))
    assert server.protocol_errors() == []


def test_xforward(place, authority, to_peer):
    """Postfix logs the true client, and still talks to us."""
    extra = "inet_protocols = all\nsmtpd_authorized_xforward_hosts = 127.0.0.0/8"
    with TlsPostfix(place / "peer-xforward", authority, extra=extra) as server:
        ferry = to_peer(server, client="xforward", received_by=BY)
        assert_stored(server, "x", send_from_clients(ferry, "x@corp.example"))
        logged = re.findall(r"orig_client=(\S+)", server.log())
        want = ["mail.one.example[192.0.2.7]", "unknown[198.51.100.9]"]
        want.append("mail.six.example[2001:db8::6]")
        assert Counter(logged) == {one: 4 for one in want}
        assert server.protocol_errors() == []


# --- LMTP ----------------------------------------------------------------------------------


class Lmtp(Dovecot):
    """A Dovecot that mail is delivered to by LMTP; what it stored is read by POP3."""

    package = "dovecot-lmtpd"

    def __init__(self, home, authority):
        super().__init__(home, authority, lmtp=True)

    @staticmethod
    def why_not():
        there = Path("/usr/lib/dovecot/lmtp").exists()
        return None if there else "dovecot-lmtpd is not installed"

    @staticmethod
    def stored(raw):
        """It takes a NUL for what Unicode has in its place."""
        return normalised(raw).replace(b"\0", b"\x80")

    def wait_count(self, user, count):
        wait_for(lambda: self.count(user) >= count, 60, f"{count} messages for {user}")

    def messages(self, user):
        stored = (untraced(raw.replace(b"\r\n", b"\n"))[1] for raw in self.read(user))
        return [raw.replace(b"\n", b"\r\n") for raw in stored]


@pytest.fixture
def to_lmtp(make_ferry):
    """to_lmtp(server, socket): popferry that delivers there by LMTP."""

    def make(server, socket):
        host = str(server.lmtp) if socket else "127.0.0.1"
        return make_ferry(server.port_lmtp, relay={"protocol": "lmtp", "host": host})

    return make


BOTH_WAYS = pytest.mark.parametrize("socket", [False, True], ids=["TCP", "socket"])


@BOTH_WAYS
def test_lmtp(peers, to_lmtp, pop3, user, socket):
    server = peers(Lmtp)
    server.add_user(user)
    ferry = to_lmtp(server, socket)
    all_of_it(ferry, pop3, server, user, CORPUS, refused=1)
    assert "does not offer SMTPUTF8" in ferry.badmail()[0]["reason"]


@BOTH_WAYS
def test_lmtp_unknown_recipient(peers, to_lmtp, user, pop3, socket):
    """Two get it, and the third's copy is kept with the server's words."""
    server = peers(Lmtp)
    known = [server.add_user(f"{user}-{n}") for n in range(2)]
    nobody = f"{user}-nobody@corp.example"
    ferry = to_lmtp(server, socket)
    raw = normalised(simple("three"))
    pick_up(ferry, "three", raw, [f"{known[0]}@corp.example", nobody, f"{known[1]}@corp.example"])
    for name in known:
        assert_stored(server, name, [raw])
    (kept,) = ferry.wait_badmail(1)
    assert kept["recipients"] == [nobody] and "550 5.1.1" in kept["reason"]
    assert quarantined(ferry) == [raw]
    for name in known:
        assert server.count(name) == 1


@BOTH_WAYS
def test_lmtp_one_box_is_broken(peers, to_lmtp, user, pop3, socket):
    """Put off behind the final dot, for one recipient of two: only that one gets it again."""
    server = peers(Lmtp)
    well, broken = (server.add_user(f"{user}-{name}") for name in ("well", "broken"))
    shutil.rmtree(server.maildir(broken))
    server.maildir(broken).write_text("no Maildir\n")
    ferry = to_lmtp(server, socket)
    raw = normalised(simple("two"))
    pick_up(ferry, "two", raw, [f"{broken}@corp.example", f"{well}@corp.example"])
    assert_stored(server, well, [raw])
    wait_for(lambda: ferry.queue()[0]["attempts"], what="the queue to show it")
    shown = ferry.ctl_json("queue", "show", ferry.queue()[0]["id"])
    assert [one["address"] for one in shown["settled"]] == [f"{well}@corp.example"]
    assert "451" in shown["last_reply"] and broken in shown["last_reply"]

    server.maildir(broken).unlink()
    server.add_user(broken)
    ferry.ctl_ok("retry", "--all")
    ferry.drain()
    assert_stored(server, broken, [raw])
    assert server.count(well) == 1

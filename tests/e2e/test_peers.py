"""Real SMTP and LMTP servers of four makes: what is sent arrives, byte for byte."""

import time
from collections import Counter

import pytest

from tests.harness.dovecot import Dovecot
from tests.harness.exim import Exim
from tests.harness.mail import corpus, normalised, odd_shapes, simple
from tests.harness.need import missing
from tests.harness.opensmtpd import OpenSmtpd
from tests.harness.peer import fields
from tests.harness.popferry import spool_message
from tests.harness.postfix import Postfix
from tests.harness.process import wait_for
from tests.harness.scripted import ScriptedSmtp

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
        if tls != "none":
            relay["ca"] = str(authority.cert)
        port = server.port_tls if tls == "implicit" else server.port
        return make_ferry(port, relay={"host": server.host} | relay)

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
    """DATA in the place of BDAT: the same arrives."""
    extra = "smtpd_discard_ehlo_keywords = chunking, pipelining, dsn, silent-discard"
    with TlsPostfix(place / "peer-data", authority, extra=extra) as server:
        all_of_it(to_peer(server, tls="starttls"), pop3, server, user, CORPUS)
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

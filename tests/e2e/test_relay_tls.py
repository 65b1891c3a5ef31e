"""TLS to the SMTP server: verified, or no octet of a password or of mail goes out, and all mail
stays.  What the server presents is the matrix of test_tls.py, with a recorder on the wire."""

import ssl

import pytest

from tests.harness.ca import Authority, pin_of, self_signed
from tests.harness.capture import Recorder
from tests.harness.mail import normalised, simple
from tests.harness.process import wait_for
from tests.harness.scripted import CLOSE, HANG, USUAL, ScriptedSmtp, times

USER, PASSWORD = "maria.mustermann", "Gruen-Spargel+77"
WORDS = ("Angebotsbestaetigung", "geheime.empfaengerin@corp.example")  # of the mail
OTHER_PIN = "sha256:" + "5a" * 32
BOTH = pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "starttls"])
MAILS = 3


class TlsSmtp(ScriptedSmtp):
    """Takes any password."""

    def do_auth(self, talk, _):
        talk.send(b"235 2.7.0 welcome\r\n")


class Case:
    """A server, a recorder before it, and popferry with mail that waits for it."""

    def __init__(self, make_ferry, authority, server, wire):
        self._make, self._authority = make_ferry, authority
        self.server, self.wire = server, wire

    def start(self, **relay):
        tls = "implicit" if self.server.implicit else "starttls"
        relay = {"host": "localhost", "tls": tls, "user": USER, "auth": "plain"} | relay
        relay = {"ca": str(self._authority.cert)} | relay
        ferry = self._make(self.wire.port, relay=relay, start=False)
        ferry.ctl_ok("relay", "password", "--password-stdin", stdin=PASSWORD + "\n")
        for n in range(MAILS):
            head = f"X-Sender: <a@origin.example>\r\nX-Receiver: <{WORDS[1]}>\r\n"
            draft = ferry.spool / "pickup" / f"{n}.part"
            draft.write_bytes(head.encode() + normalised(simple(f"{WORDS[0]} {n}")))
            draft.rename(draft.with_suffix(".eml"))
        ferry.start("hygiene")
        wait_for(lambda: len(ferry.files("outgoing")) == MAILS, what="the mail to wait")
        return ferry.start("fetcherd", "relayd")

    def refused(self, words, deadline=20, **relay):
        """It is not sent there, the event says why, and it all waits."""
        ferry = self.start(**relay)
        event = wait_for(
            lambda: ferry.events("relayd", "relay-failed")
            or ferry.events("relayd", "relay-login-refused"),
            deadline,
            "the event",
        )[0]
        assert words in event["error"], event["error"]
        assert words in ferry.status()["relayd"]["error"]
        self.wire.assert_secret(USER, PASSWORD, *WORDS)
        assert self.wire.wire
        assert len(ferry.files("outgoing")) == MAILS and not ferry.badmail()
        assert not self.server.accepted
        heard = b"".join(one.raw for one in self.server.conversations)
        assert PASSWORD.encode() not in heard and WORDS[1].encode() not in heard
        return ferry

    def sent(self, **relay):
        ferry = self.start(**relay)
        wait_for(lambda: len(self.server.accepted) == MAILS, what="the mail to arrive")
        ferry.drain()
        self.wire.assert_secret(USER, PASSWORD, *WORDS)
        return ferry


@pytest.fixture(scope="module")
def stranger(place):
    return Authority(place / "relay-stranger")


@pytest.fixture
def present(make_ferry, authority):
    """present(pair, implicit, script): a server with that certificate."""
    opened = []

    def make(pair, implicit=True, script=None):
        server = TlsSmtp(script, ("PIPELINING", "AUTH PLAIN"), tls=pair, implicit=implicit)
        wire = Recorder(server.port)
        opened.extend((wire, server))
        return Case(make_ferry, authority, server, wire)

    yield make
    for one in opened:
        one.__exit__()


@BOTH
def test_wrong_host(present, authority, implicit):
    pair = authority.issue("elsewhere", "DNS:mx.other.example")
    present(pair, implicit).refused("it is for another host: mx.other.example")


@BOTH
def test_expired(present, authority, implicit):
    present(authority.issue("expired", days=-1), implicit).refused("it has expired")


@BOTH
def test_not_yet_valid(present, authority, implicit):
    pair = authority.issue_for_later()
    present(pair, implicit).refused("it is not yet valid (from 2040-01-01")


@BOTH
def test_self_signed(present, place, implicit):
    present(self_signed(place), implicit).refused("it is self-signed, and not pinned")


@BOTH
def test_unknown_authority(present, stranger, implicit):
    present(stranger.issue(), implicit).refused("its authority is not trusted here")


@BOTH
def test_another_pin(present, authority, implicit):
    case = present(authority.issue("repinned"), implicit)
    case.refused("its key is not the pinned one", pin=OTHER_PIN)


@BOTH
def test_a_pin_does_not_excuse(present, authority, implicit):
    pair = authority.issue("late", days=-1)
    present(pair, implicit).refused("it has expired", pin=pin_of(pair[0]))


@BOTH
def test_old_tls_only(present, authority, implicit):
    case = present(authority.issue("oldtls"), implicit)
    case.server.tls.set_ciphers("ALL:@SECLEVEL=0")
    case.server.tls.minimum_version = ssl.TLSVersion.TLSv1
    case.server.tls.maximum_version = ssl.TLSVersion.TLSv1_1
    case.refused("the server offers no TLS 1.2 or later")


PLAIN_EHLO = b"250-scripted.example\r\n250 AUTH PLAIN\r\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"EHLO*": PLAIN_EHLO}, "does not offer STARTTLS"),
        ({"EHLO*": b"502 5.5.1 what?\r\n"}, "STARTTLS"),
        ({"STARTTLS": b"454 4.7.0 not today\r\n"}, "not today"),
        ({"STARTTLS": b"554 5.7.0 not ever\r\n"}, "not ever"),
        ({"STARTTLS": [b"220 go\r\n250 2.0.0 injected\r\n", USUAL]}, "in clear"),
        ({"STARTTLS": [b"220 go\r\n", CLOSE]}, "closed the connection"),
    ],
    ids=["stripped", "no EHLO", "temporary", "refused", "injected", "closed"],
)
def test_starttls_goes_wrong(present, authority, script, words):
    present(authority.issue("starttls"), False, script).refused(words)


def test_what_was_offered_in_clear_does_not_count(present, authority):
    """EHLO is sent again: without AUTH within TLS, no password is."""
    script = {"EHLO*": times(1, b"250-x\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n")}
    case = present(authority.issue("again"), False, script)
    case.server.extensions = ["PIPELINING"]
    case.refused("AUTH")


@BOTH
def test_handshake_stall(present, authority, implicit):
    """The server takes the connection and says nothing more; half a minute is enough."""
    script = {"STARTTLS": [b"220 go\r\n", HANG]}
    case = present(authority.issue("stall"), implicit, script)
    if implicit:
        case.server.implicit = False
        case.server.script = {"GREETING": HANG}
        case.refused("no TLS handshake within", 60, tls="implicit")
    else:
        case.refused("no TLS handshake within", 60)


def test_plain_server_on_the_tls_port(present, authority):
    case = present(authority.issue("plain"), False)
    case.refused("what the server sent is not TLS", tls="implicit")


@BOTH
def test_cut_off_without_close_notify(present, authority, implicit):
    """In the midst of a session: what was not answered is sent again, what was is not."""
    script = {".": times(1, CLOSE)}
    case = present(authority.issue("cut"), implicit, script)
    ferry = case.start(sessions=1, retry_min="1s", retry_max="1s")
    wait_for(lambda: len(case.server.accepted) == MAILS, what="the mail to arrive")
    ferry.drain()
    assert len(ferry.events("relayd", "possible-duplicate")) == 1
    assert len(case.server.accepted) == MAILS
    case.wire.assert_secret(USER, PASSWORD, *WORDS)


# --- what must work ---


@BOTH
@pytest.mark.parametrize("how", ["ca", "pin", "self-signed"])
def test_accepted(present, authority, place, implicit, how):
    pair = self_signed(place, "relay-mine") if how == "self-signed" else authority.issue("mine")
    relay = {} if how == "ca" else {"pin": pin_of(pair[0])}
    case = present(pair, implicit)
    case.sent(**relay)
    assert all(one.encrypted for one in case.server.conversations)


@BOTH
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_mended(present, authority, implicit, version):
    """The wrong certificate is replaced: all that waited is sent."""
    case = present(authority.issue("broken", "DNS:mx.other.example"), implicit)
    ferry = case.refused("it is for another host")
    case.server.tls.load_cert_chain(*authority.issue("mended"))
    case.server.tls.maximum_version = version
    ferry.ctl_ok("retry", "--all")
    wait_for(lambda: len(case.server.accepted) == MAILS, what="the mail to arrive")
    case.wire.assert_secret(USER, PASSWORD, *WORDS)

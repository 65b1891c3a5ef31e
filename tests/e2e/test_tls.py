"""TLS to the POP3 server: verified, or nothing is said at all."""

import hashlib
import ssl
import time

import pytest

from tests.harness.ca import Authority, pin_of, self_signed
from tests.harness.capture import Recorder
from tests.harness.mail import assert_same, normalised, simple
from tests.harness.popferry import EXIT_USAGE
from tests.harness.process import free_port
from tests.harness.scripted import CLOSE, HANG, USUAL, ScriptedPop3, times


@pytest.fixture
def trusting(make_ferry, authority, smtp):
    """popferry whose fetcherd trusts our authority."""
    return make_ferry(smtp.port, env={"SSL_CERT_FILE": str(authority.cert)})


@pytest.fixture
def wary(make_ferry, smtp):
    """popferry that trusts only what the system trusts: not our authority."""
    return make_ferry(smtp.port, env={"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""})


@pytest.fixture
def user(request, pop3):
    name = "tls-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())
    return pop3.add_user(name)


def account(ferry, port, tls, user="user", host="localhost"):
    ferry.add_account("acc", port, user, "secret", f"{user}@corp.example", tls=tls, host=host)


def no_credentials(server):
    said = server.heard()
    assert not [line for line in said if line.upper().startswith(("USER", "PASS", "AUTH", "APOP"))]
    assert not any(b"secret" in one.raw for one in server.conversations)


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_own_authority(trusting, pop3, smtp, user, tls, host):
    port = pop3.port_tls if tls == "implicit" else pop3.port
    account(trusting, port, tls, user, host)
    sent = [pop3.drop(user, simple(f"number {n}", body="x\n" * 20000)) for n in range(5)]
    assert trusting.fetch("acc") == 0
    smtp.wait_count(user, 5)
    smtp.settle()
    assert_same(sent, smtp.messages(user))
    assert pop3.count(user) == 0
    logins = [line for line in pop3.log().splitlines() if f"Login: user=<{user}>" in line]
    assert logins and all("TLS" in line for line in logins)


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_untrusted_authority_fails_closed(wary, pop3, smtp, user, tls):
    account(wary, pop3.port_tls if tls == "implicit" else pop3.port, tls, user)
    pop3.drop(user, simple("kept"))
    assert wary.fetch("acc") != 0
    shown = wary.account("acc")
    assert shown["failures"] and "certificate" in shown["error"].lower()
    assert pop3.count(user) == 1
    assert f"Login: user=<{user}>" not in pop3.log()


@pytest.mark.parametrize(
    "issue",
    [
        {"name": "other", "alt": "DNS:other.example"},
        {"name": "wildcard", "alt": "DNS:*.localhost"},
        {"name": "past", "days": -1},
    ],
    ids=lambda issue: issue["name"],
)
@pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "starttls"])
def test_wrong_certificates(trusting, authority, issue, implicit):
    with ScriptedPop3([simple("x")], tls=authority.issue(**issue), implicit=implicit) as server:
        account(trusting, server.port, "implicit" if implicit else "starttls")
        assert trusting.fetch("acc") != 0
        assert "certificate" in trusting.account("acc")["error"].lower()
        no_credentials(server)
        assert len(server.mailbox) == 1


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"STLS": b"-ERR not today\r\n"},
        {"STLS": b"+ERR what\r\n"},
        {"STLS": [b"+OK begin\r\n", CLOSE]},
        {"CAPA": b"-ERR unknown\r\n"},
        {"CAPA": b"+OK\r\nUSER\r\nUIDL\r\n.\r\n", "STLS": b"-ERR unknown command\r\n"},
    ],
    ids=["not offered", "refused", "odd answer", "closed", "no CAPA", "stripped"],
)
def test_stls_missing_fails_closed(trusting, script):
    """Whoever takes STLS out of the conversation learns no byte of the credentials."""
    with ScriptedPop3([simple("x")], script) as server:
        account(trusting, server.port, "starttls")
        assert trusting.fetch("acc") != 0
        assert trusting.account("acc")["error"]
        no_credentials(server)


def test_bytes_behind_the_stls_answer(trusting, authority):
    """What was said in clear is not taken for something that was said within TLS."""
    script = {"STLS": [b"+OK begin\r\n", USUAL]}
    with ScriptedPop3([simple("x")], script, tls=authority.issue("inject")) as server:
        account(trusting, server.port, "starttls")
        assert trusting.fetch("acc") != 0
        no_credentials(server)


def test_plain_server_on_the_tls_port(trusting):
    with ScriptedPop3([simple("x")]) as server:
        account(trusting, server.port, "implicit")
        assert trusting.fetch("acc") != 0
        no_credentials(server)


def test_tls_is_the_default(make_ferry):
    """An account that says nothing of TLS gets it."""
    ferry = make_ferry(free_port())
    words = ("--server", "pop.example", "--user", "u", "--deliver-to", "a@corp.example")
    ferry.ctl_ok("account", "add", "acc", *words, "--password-stdin", stdin="secret\n")
    shown = ferry.ctl_json("account", "show", "acc")
    assert shown["tls"] == "implicit" and shown["port"] == 995


# --- the whole matrix: what a server may present, and that nothing leaks whatever it does ---

USER, PASSWORD = "maria.mustermann", "Gruen-Spargel+77"
OTHER_PIN = "sha256:" + "5a" * 32
BOTH = pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "starttls"])


class Refusal:
    """A server, a recorder before it, and an account that must not log in."""

    def __init__(self, ferry, server):
        self.ferry, self.server = ferry, server

    def check(self, words, more=(), host="localhost"):
        tls = "implicit" if self.server.implicit else "starttls"
        kept = len(self.server.mailbox)
        with Recorder(self.server.port) as wire:
            self.ferry.add_account(
                "acc", wire.port, USER, PASSWORD, "to@corp.example", tls=tls, host=host, more=more
            )
            assert self.ferry.fetch("acc") == 1
            error = self.ferry.account("acc")["error"]
            wire.assert_secret(USER, PASSWORD)
            assert wire.wire
        assert words in error, error
        assert len(self.server.mailbox) == kept
        assert not any(PASSWORD.encode() in one.raw for one in self.server.conversations)


@pytest.fixture(scope="module")
def stranger(place):
    return Authority(place / "stranger")


@pytest.fixture
def present(trusting):
    """present(pair, implicit): a server with that certificate."""
    servers = []

    def make(pair, implicit=True, script=None, **more):
        server = ScriptedPop3([simple("kept")], script, tls=pair, implicit=implicit, **more)
        servers.append(server)
        return Refusal(trusting, server)

    yield make
    for server in servers:
        server.stop()


@BOTH
def test_wrong_host(present, authority, implicit):
    pair = authority.issue("elsewhere", "DNS:pop.other.example")
    present(pair, implicit).check("it is for another host: pop.other.example")


@BOTH
def test_expired(present, authority, implicit):
    present(authority.issue("expired", days=-1), implicit).check("it has expired (valid until 20")


@BOTH
def test_not_yet_valid(present, authority, implicit):
    pair = authority.issue_for_later()
    present(pair, implicit).check("it is not yet valid (from 2040-01-01")


@BOTH
def test_self_signed(present, place, implicit):
    present(self_signed(place), implicit).check("it is self-signed, and not pinned")


@BOTH
def test_unknown_authority(present, stranger, implicit):
    present(stranger.issue(), implicit).check("its authority is not trusted here")


@BOTH
def test_another_pin(present, authority, implicit):
    """The pin of a key that was revoked: the rest of the certificate does not help."""
    case = present(authority.issue("repinned"), implicit)
    case.check("its key is not the pinned one", ("--pin", OTHER_PIN))


@BOTH
def test_another_pin_and_self_signed(present, place, implicit):
    present(self_signed(place), implicit).check("self-signed", ("--pin", OTHER_PIN))


@BOTH
def test_a_pin_does_not_excuse(present, authority, stranger, place, implicit):
    """A pin that matches replaces an authority for a self-signed certificate, nothing else."""
    cases = [
        (authority.issue("late", days=-1), "it has expired"),
        (authority.issue("away", "DNS:other.example"), "it is for another host"),
        (stranger.issue(), "its authority is not trusted here"),
        (self_signed(place, "old", days=-1), "it has expired"),
        (self_signed(place, "far", "DNS:other.example"), "it is for another host"),
    ]
    for pair, words in cases:
        case = present(pair, implicit)
        case.check(words, ("--pin", pin_of(pair[0])))
        case.ferry.ctl_ok("account", "remove", "acc")


@BOTH
def test_system_authorities_do_not_count_beside_a_ca_file(present, authority, stranger, implicit):
    case = present(authority.issue("own"), implicit)
    case.check("its authority is not trusted here", ("--ca", stranger.cert))


def test_ca_file_that_cannot_be_read(present, authority, place):
    broken = place / "broken.pem"
    broken.write_text("no certificates\n")
    case = present(authority.issue("unread"), True)
    with Recorder(case.server.port) as wire:
        add = ("--ca", broken)
        case.ferry.add_account("acc", wire.port, USER, PASSWORD, "a@b.example", "implicit", add)
        assert case.ferry.fetch("acc") == 1
        assert f"CA file {broken}" in case.ferry.account("acc")["error"]
        wire.assert_secret(USER, PASSWORD)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"CAPA": b"+OK\r\nUSER\r\n.\r\n"}, "does not offer STLS"),
        ({"STLS": b"-ERR not today\r\n"}, "not today"),
        ({"STLS": [b"+OK go\r\n+OK injected\r\n", USUAL]}, ""),
        ({"STLS": [b"+OK go\r\n", HANG]}, "no TLS handshake within 2 s"),
        ({"STLS": [b"+OK go\r\n", CLOSE]}, "closed the connection"),
    ],
    ids=["stripped", "refused", "injected", "stalled", "closed"],
)
def test_stls_goes_wrong(make_ferry, smtp, authority, script, words):
    env = {"SSL_CERT_FILE": str(authority.cert)}
    ferry = make_ferry(smtp.port, fetch={"connect_timeout": "2s"}, env=env)
    with ScriptedPop3([simple("kept")], script, tls=authority.issue("stls")) as server:
        Refusal(ferry, server).check(words)


def test_handshake_stall_implicit(make_ferry, smtp, authority):
    """A server that takes the connection and then says nothing."""
    env = {"SSL_CERT_FILE": str(authority.cert)}
    ferry = make_ferry(smtp.port, fetch={"connect_timeout": "2s"}, env=env)
    with ScriptedPop3([simple("x")], {"GREETING": HANG}) as server:
        began = time.monotonic()
        ferry.add_account("acc", server.port, USER, PASSWORD, "to@corp.example", tls="implicit")
        assert ferry.fetch("acc") == 1
        assert time.monotonic() - began < 15
        assert "no TLS handshake within 2 s" in ferry.account("acc")["error"]


@BOTH
def test_old_tls_only(present, authority, implicit):
    case = present(authority.issue("oldtls"), implicit)
    context = case.server.tls
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    case.check("the server offers no TLS 1.2 or later")


@BOTH
def test_cut_off_without_close_notify(trusting, authority, smtp, implicit):
    """What came of the message is no message, and stays on the server; the next poll gets it."""
    whole = normalised(simple("half", body="y\n" * 2000))
    script = {"RETR 1": times(1, [b"+OK\r\n" + whole[:1500], CLOSE])}
    pair = authority.issue("cut")
    with ScriptedPop3([whole], script, tls=pair, implicit=implicit) as server:
        tls = "implicit" if implicit else "starttls"
        with Recorder(server.port) as wire:
            address = f"cut-{tls}@corp.example"
            trusting.add_account("acc", wire.port, USER, PASSWORD, address, tls, host="localhost")
            assert trusting.fetch("acc") == 1
            assert "cut off without close_notify" in trusting.account("acc")["error"]
            assert list(server.mailbox) == ["uid-1"]
            assert not server.heard("DELE*") and not trusting.files("incoming")
            trusting.fetch("acc")
            smtp.wait_count(f"cut-{tls}", 1)
            assert_same([whole], smtp.messages(f"cut-{tls}"))
            wire.assert_secret(USER, PASSWORD)


# --- what must work ---


@BOTH
@pytest.mark.parametrize("how", ["pin", "ca", "self-signed", "certificate"])
def test_accepted(trusting, wary, authority, place, implicit, how):
    pair = self_signed(place, "mine") if how == "self-signed" else authority.issue("mine")
    more = {
        "pin": ("--pin", pin_of(pair[0])),
        "ca": ("--ca", authority.cert),
        "self-signed": ("--pin", pin_of(pair[0])),
        "certificate": ("--pin", "sha256:" + certificate_hash(pair[0])),
    }[how]
    ferry = wary if how in ("ca", "self-signed") else trusting
    with ScriptedPop3([], tls=pair, implicit=implicit) as server, Recorder(server.port) as wire:
        tls = "implicit" if implicit else "starttls"
        ferry.add_account("acc", wire.port, USER, PASSWORD, "a@b.example", tls, more, "localhost")
        assert ferry.fetch("acc") == 0, ferry.account("acc")["error"]
        assert server.heard(f"PASS {PASSWORD}")
        wire.assert_secret(USER, PASSWORD)


def certificate_hash(cert):
    """As `openssl x509 -fingerprint -sha256` shows it, colons and all."""
    raw = ssl.PEM_cert_to_DER_cert(cert.read_text())
    return ":".join(f"{byte:02X}" for byte in hashlib.sha256(raw).digest())


@BOTH
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(trusting, authority, implicit, version):
    """The second poll resumes; after a change of the pin nothing is taken for granted."""
    pair = authority.issue("resume")
    with ScriptedPop3([], tls=pair, implicit=implicit) as server:
        server.tls.maximum_version = version
        account(trusting, server.port, "implicit" if implicit else "starttls")
        for _ in range(2):
            assert trusting.fetch("acc") == 0
        assert [one.resumed for one in server.conversations] == [False, True]
        trusting.ctl_ok("account", "set", "acc", "--pin", OTHER_PIN)
        assert trusting.fetch("acc") == 1
        assert "not the pinned one" in trusting.account("acc")["error"]
        trusting.ctl_ok("account", "set", "acc", "--pin", "none")
        assert trusting.fetch("acc") == 0


def test_settings(trusting, authority):
    """What is set is shown, what makes no sense refused."""
    account(trusting, 995, "implicit")
    trusting.ctl_ok("account", "set", "acc", "--ca", authority.cert, "--pin", OTHER_PIN)
    shown = trusting.ctl_json("account", "show", "acc")
    assert shown["ca"] == str(authority.cert) and shown["pin"].startswith("sha256:Wlpa")
    trusting.ctl_ok("account", "set", "acc", "--pin", shown["pin"])
    trusting.restart("fetcherd")
    again = trusting.ctl_json("account", "show", "acc")
    assert (again["ca"], again["pin"]) == (shown["ca"], shown["pin"])
    trusting.ctl_ok("account", "set", "acc", "--ca", "default", "--pin", "none")
    shown = trusting.ctl_json("account", "show", "acc")
    assert shown["ca"] is None and shown["pin"] is None
    for bad in (("--pin", "sha256:00"), ("--pin", "md5:" + "0" * 32), ("--ca", "/no/such/file")):
        code, _, err = trusting.ctl("account", "set", "acc", *bad)
        assert code == EXIT_USAGE and bad[1] in err

"""TLS to the POP3 server: verified, or nothing is said at all."""

import pytest

from tests.harness.mail import assert_same, simple
from tests.harness.process import free_port
from tests.harness.scripted import CLOSE, USUAL, ScriptedPop3


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

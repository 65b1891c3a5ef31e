"""Logging in at a real Postfix that asks a real Dovecot: every mechanism, and what is wrong."""

import pytest

from tests.e2e.test_auth import Introspection
from tests.harness.capture import Recorder
from tests.harness.dovecot import Dovecot
from tests.harness.mail import normalised, simple
from tests.harness.need import missing
from tests.harness.popferry import sleep
from tests.harness.postfix import Postfix
from tests.harness.process import wait_for

PASSWORD = 's3cret pass,="word"'
TOKEN = "ya29.token-of-the-tests"
BY_PASSWORD = ("plain", "login", "cram-md5", "digest-md5", "scram-sha-1", "scram-sha-256")
BY_TOKEN = ("xoauth2", "oauthbearer")

_SASL = """\
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{sasl}
smtpd_sender_restrictions = permit_sasl_authenticated, reject
"""


@pytest.fixture(scope="module")
def tokens():
    server = Introspection()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def dovecot(place, authority, tokens):
    mechanisms = " ".join(BY_PASSWORD + BY_TOKEN)
    home = place / "dovecot-sasl"
    more = {"mechanisms": mechanisms, "introspection": tokens.url, "lmtp": True}
    with Dovecot(home, authority, **more) as server:
        yield server


@pytest.fixture(scope="module")
def submission(place, authority, dovecot):
    """A Postfix that takes mail from who has logged in."""
    if reason := Postfix.why_not():
        missing(reason)
    extra = _SASL.format(sasl=dovecot.port_sasl)
    with Postfix(place / "submission", cert=authority.issue("submission"), extra=extra) as server:
        yield server


@pytest.fixture
def server(submission):
    submission.begin()
    return submission


@pytest.fixture
def user(request, dovecot):
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).strip("-")
    return dovecot.add_user(name, PASSWORD)


@pytest.fixture
def logging_in(make_ferry, authority):
    """logging_in(port, user, password, ...): popferry that does, before anything is sent."""

    def make(port, user, password=PASSWORD, **relay):
        relay = {"host": "localhost", "user": user, "tls": "starttls"} | relay
        if relay["tls"] != "none":
            relay["ca"] = str(authority.cert)
        ferry = make_ferry(port, relay=relay, start=False)
        ferry.ctl_ok("relay", "password", "--password-stdin", stdin=password + "\n")
        return ferry

    return make


def send(ferry, user, count=1):
    for n in range(count):
        head = f"X-Sender: <from@origin.example>\r\nX-Receiver: <{user}@corp.example>\r\n"
        draft = ferry.spool / "pickup" / f"{n}.part"
        draft.write_bytes(head.encode() + normalised(simple(f"number {n}")))
        draft.rename(draft.with_suffix(".eml"))


def went_by(server, user):
    """{(mechanism, user name)} of the mail for user, as Postfix knows it."""
    seen = server.attempts(recipient=f"^{user}@")
    return {(one["sasl_method"].upper(), one["sasl_username"]) for one in seen}


@pytest.mark.parametrize("auth", BY_PASSWORD)
@pytest.mark.parametrize("tls", ["starttls", "implicit", "none"])
def test_every_mechanism(logging_in, server, user, auth, tls):
    port = server.port_tls if tls == "implicit" else server.port
    with Recorder(port) as wire:
        ferry = logging_in(wire.port, user, auth=auth, tls=tls).start()
        send(ferry, user, 3)
        server.wait_count(user, 3)
        assert went_by(server, user) == {(auth.upper(), user)}
        in_clear = tls == "none" and auth in ("plain", "login")
        if not in_clear:
            wire.assert_secret(PASSWORD)
    assert bool(ferry.events("relayd", "password-in-clear")) == in_clear
    assert not ferry.secrets_in_clear(PASSWORD)
    assert server.protocol_errors() == []


@pytest.mark.parametrize("auth", BY_TOKEN)
def test_token(logging_in, server, tokens, user, auth):
    tokens.users[TOKEN + user] = user
    ferry = logging_in(server.port, user, TOKEN + user, auth=auth).start()
    send(ferry, user, 3)
    server.wait_count(user, 3)
    assert went_by(server, user) == {(auth.upper(), user)}
    assert not ferry.secrets_in_clear(TOKEN + user)


def test_auto_takes_the_strongest(logging_in, server, user):
    ferry = logging_in(server.port, user).start()
    send(ferry, user)
    server.wait_count(user, 1)
    assert went_by(server, user) == {("SCRAM-SHA-256", user)}


def refusals(server):
    return server.log().count("authentication failed")


@pytest.mark.parametrize("auth", (*BY_PASSWORD, *BY_TOKEN, "auto"))
def test_wrong_password(logging_in, server, tokens, user, auth):
    """It is shown once; the mail stays; the right one sends it."""
    before = refusals(server)
    ferry = logging_in(server.port, user, "not it", auth=auth)
    send(ferry, user, 5)
    ferry.start("hygiene")
    wait_for(lambda: len(ferry.files("outgoing")) == 5, what="the mail to wait")
    ferry.start("fetcherd", "relayd")
    refused = wait_for(lambda: ferry.events("relayd", "relay-login-refused"), what="the event")
    assert refused[0]["level"] == "alarm" and "535" in refused[0]["error"]
    sleep(2)
    assert refusals(server) - before == 1, "a wrong password is shown once"
    assert len(ferry.files("outgoing")) == 5 and not ferry.badmail()
    assert not server.attempts(recipient=f"^{user}@")

    right = PASSWORD
    if auth in BY_TOKEN:
        right = TOKEN + user
        tokens.users[right] = user
    ferry.ctl_ok("relay", "password", "--password-stdin", stdin=right + "\n")
    server.wait_count(user, 5)


def test_no_token_without_tls(logging_in, server, tokens, user):
    with Recorder(server.port) as wire:
        ferry = logging_in(wire.port, user, TOKEN, auth="xoauth2", tls="none").start()
        send(ferry, user)
        wait_for(lambda: ferry.status()["relayd"]["error"], what="the reason")
        wire.assert_secret(TOKEN)
    assert not server.count(user)


def test_it_does_not_offer_the_method(logging_in, server, user):
    ferry = logging_in(server.port, user, auth="ntlm").start()
    send(ferry, user)
    wait_for(
        lambda: "does not offer" in (ferry.status()["relayd"]["error"] or ""), what="the reason"
    )
    wait_for(lambda: len(ferry.files("outgoing")) == 1, what="the message, which stays")
    assert not server.count(user)

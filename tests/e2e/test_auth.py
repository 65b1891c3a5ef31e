"""Logging in: every mechanism against a server that really has it, and a wrong password for each."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pytest

from tests.harness import cyrus
from tests.harness.dovecot import Dovecot
from tests.harness.mail import assert_same, simple
from tests.harness.mailutils import Mailutils
from tests.harness.need import missing
from tests.harness.process import wait_for
from tests.harness.scripted import CLOSE, ScriptedPop3

PASSWORD = 's3cret pass,="word"'
TOKEN = "ya29.token-of-the-tests"

BY_PASSWORD = (
    "basic",
    "plain",
    "login",
    "cram-md5",
    "digest-md5",
    "apop",
    "scram-sha-1",
    "scram-sha-256",
)
BY_TOKEN = ("xoauth2", "oauthbearer")


class Introspection:
    """Says of one token that it is good, and whose it is."""

    def __init__(self):
        self.users = {}
        users = self.users

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                token = parse_qs(urlparse(self.path).query).get("token", [""])[0]
                known = token in users
                body = json.dumps({"active": known, "username": users.get(token, "")}).encode()
                self.send_response(200 if known else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/introspect?token="
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def tokens():
    server = Introspection()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def many_ways(place, authority, tokens):
    """A Dovecot with every mechanism that it has."""
    mechanisms = (
        "plain login cram-md5 digest-md5 apop scram-sha-1 scram-sha-256 xoauth2 oauthbearer"
    )
    home = place / "dovecot-auth"
    with Dovecot(home, authority, mechanisms=mechanisms, introspection=tokens.url) as server:
        yield server


@pytest.fixture
def trusting(make_ferry, authority, smtp):
    return make_ferry(smtp.port, env={"SSL_CERT_FILE": str(authority.cert)})


@pytest.fixture
def user(request, many_ways):
    name = "auth-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())
    return many_ways.add_user(name, PASSWORD)


def account(ferry, port, user, password, auth, tls="implicit", host="localhost"):
    more = ("--auth", auth)
    ferry.add_account(
        "acc",
        port,
        user,
        password,
        f"{user.split('@')[0]}@corp.example",
        tls=tls,
        host=host,
        more=more,
    )


def says_the_method(server, user):
    """What Dovecot logged of the logins of a user."""
    lines = [one for one in server.log().splitlines() if f"Login: user=<{user}>" in one]
    return {one.split("method=")[1].split(",")[0] for one in lines}


def fetches(ferry, server, smtp, user):
    sent = [server.drop(user, simple(f"number {n}")) for n in range(3)]
    assert ferry.fetch("acc") == 0, ferry.account("acc")["error"] + ferry.log("fetcherd")[-2000:]
    smtp.wait_count(user, 3)
    smtp.settle()
    assert_same(sent, smtp.messages(user))


ON_THE_WIRE = {"basic": "PLAIN"}


@pytest.mark.parametrize("auth", BY_PASSWORD)
@pytest.mark.parametrize("tls", ["implicit", "none"])
def test_every_mechanism(trusting, many_ways, smtp, user, auth, tls):
    port = many_ways.port_tls if tls == "implicit" else many_ways.port
    account(trusting, port, user, PASSWORD, auth, tls)
    if tls == "none" and auth in ("plain", "login"):
        assert trusting.fetch("acc") != 0
        assert "not secure" in trusting.account("acc")["error"]
        assert f"<{user}>" not in many_ways.log()
        return
    fetches(trusting, many_ways, smtp, user)
    assert says_the_method(many_ways, user) == {ON_THE_WIRE.get(auth, auth.upper())}
    in_clear = trusting.events("fetcherd", "password-in-clear")
    assert bool(in_clear) == (tls == "none" and auth == "basic")
    assert not trusting.secrets_in_clear(PASSWORD)


@pytest.mark.parametrize("auth", BY_PASSWORD)
def test_wrong_password(trusting, many_ways, user, auth):
    account(trusting, many_ways.port_tls, user, "not it", auth)
    many_ways.drop(user, simple("kept"))
    assert trusting.fetch("acc") != 0
    shown = trusting.account("acc")
    assert shown["failures"] == 1 and "Authentication failed" in shown["error"]
    refused = many_ways.log().count(f"user=<{user}>, method=")
    assert refused == 1, "one wrong password is said once"
    assert many_ways.count(user) == 1
    for _ in range(2):
        trusting.fetch("acc")
    assert trusting.events("fetcherd", "account-paused")


@pytest.mark.parametrize("auth", BY_TOKEN)
def test_token(trusting, many_ways, tokens, smtp, user, auth):
    tokens.users[TOKEN + user] = user
    account(trusting, many_ways.port_tls, user, TOKEN + user, auth)
    fetches(trusting, many_ways, smtp, user)
    assert says_the_method(many_ways, user) == {auth.upper()}
    assert not trusting.secrets_in_clear(TOKEN + user)


@pytest.mark.parametrize("auth", BY_TOKEN)
def test_wrong_token(trusting, many_ways, user, auth):
    account(trusting, many_ways.port_tls, user, "expired", auth)
    many_ways.drop(user, simple("kept"))
    assert trusting.fetch("acc") != 0
    shown = trusting.account("acc")
    assert shown["failures"] == 1 and "-ERR" in shown["error"] and "before: {" in shown["error"]
    assert many_ways.count(user) == 1


@pytest.mark.parametrize("auth", BY_TOKEN)
def test_no_token_without_tls(trusting, many_ways, user, auth):
    account(trusting, many_ways.port, user, TOKEN, auth, tls="none")
    assert trusting.fetch("acc") != 0
    assert "not secure" in trusting.account("acc")["error"]


def test_auto_takes_the_strongest(trusting, many_ways, smtp, user):
    account(trusting, many_ways.port_tls, user, PASSWORD, "auto")
    fetches(trusting, many_ways, smtp, user)
    assert says_the_method(many_ways, user) == {"SCRAM-SHA-256"}


def test_auto_says_a_wrong_password_once(trusting, many_ways, user):
    account(trusting, many_ways.port_tls, user, "not it", "auto")
    assert trusting.fetch("acc") != 0
    said = f"user=<{user}>, method="
    wait_for(lambda: said in many_ways.log(), what="Dovecot to log it")
    assert many_ways.log().count(said) == 1


# --- odd servers ---------------------------------------------------------------------------

SASL = ("UIDL", "USER", "SASL SCRAM-SHA-256 CRAM-MD5 PLAIN")


@pytest.fixture
def clear(make_ferry, smtp):
    return make_ferry(smtp.port)


def test_auto_goes_on_where_nothing_was_given_away(trusting, authority):
    """Mechanisms that are listed but refused before the password matters are passed over."""
    script = {
        "AUTH SCRAM*": b"-ERR not today\r\n",
        "AUTH CRAM-MD5": b"+ not base64!\r\n",
        "[*]": b"-ERR cancelled\r\n",
        "AUTH PLAIN*": b"+OK in\r\n",
    }
    encrypted = {"tls": authority.issue("goes-on"), "implicit": True}
    with ScriptedPop3([simple("x")], script, capabilities=SASL, **encrypted) as server:
        account(trusting, server.port, "u", "secret", "auto")
        assert trusting.fetch("acc") == 0
        assert [one.split()[1] for one in server.heard("AUTH *")] == [
            "SCRAM-SHA-256",
            "CRAM-MD5",
            "PLAIN",
        ]
        assert server.heard("[*]") == ["*"]


def test_auto_says_no_password_in_clear(clear):
    """Not by AUTH and not by USER, and the refusal says what would do; that then does."""
    script = {"AUTH *": b"-ERR not today\r\n"}
    with ScriptedPop3([simple("x")], script, capabilities=SASL) as server:
        account(clear, server.port, "u", "secret", "auto", tls="none", host="127.0.0.1")
        assert clear.fetch("acc") != 0
        assert {one.split()[1] for one in server.heard("AUTH *")} == {"SCRAM-SHA-256", "CRAM-MD5"}
        assert not server.heard("USER *") and not server.heard("PASS *")
        what_to_do = clear.account("acc")["error"].split("`popferryctl ")[1].split("`")[0]
        code, out, _ = clear.ctl("account", "test", "acc")
        assert code != 0 and what_to_do in out
        clear.ctl_ok(*what_to_do.split())
        assert clear.fetch("acc") == 0
        assert set(server.heard("PASS *")) == {"PASS secret"}
        assert "clear text" in clear.ctl_ok("account", "test", "acc")


def test_no_success_without_the_servers_proof(clear):
    """+OK in the midst of SCRAM is a server that does not know the password, and gets nothing weaker."""
    script = {"AUTH SCRAM*": b"+OK come in\r\n"}
    with ScriptedPop3([simple("x")], script, capabilities=SASL) as server:
        account(clear, server.port, "u", "secret", "auto", tls="none", host="127.0.0.1")
        assert clear.fetch("acc") != 0
        assert "prove" in clear.account("acc")["error"]
        assert len(server.heard("AUTH *")) == 1 and not server.heard("PASS *")


@pytest.mark.parametrize("code", ["[SYS/TEMP]", "[IN-USE]", "[LOGIN-DELAY]"])
def test_codes_that_mean_no_bad_password(clear, code):
    script = {"PASS *": f"-ERR {code} later\r\n".encode()}
    with ScriptedPop3([simple("x")], script, capabilities=("UIDL", "SASL PLAIN")) as server:
        account(clear, server.port, "u", "secret", "basic", tls="none", host="127.0.0.1")
        for _ in range(4):
            clear.fetch("acc")
        assert not clear.events("fetcherd", "account-paused")


def test_a_method_that_is_not_offered(clear):
    with ScriptedPop3([simple("x")], capabilities=("UIDL", "SASL PLAIN")) as server:
        account(clear, server.port, "u", "secret", "cram-md5", tls="none", host="127.0.0.1")
        assert clear.fetch("acc") != 0
        shown = clear.account("acc")["error"]
        assert "does not offer" in shown and "PLAIN" in shown
        assert not server.heard("AUTH *") and not server.heard("USER *")


@pytest.mark.parametrize(
    "greeting", [b"+OK <1896.697170952@dbc.mtview.ca.us>", b"+OK hi <a@[127.0.0.1]> there"]
)
def test_apop_timestamp(clear, greeting):
    import hashlib

    stamp = greeting[greeting.index(b"<") : greeting.index(b">") + 1]
    script = {"GREETING": greeting + b"\r\n", "APOP *": b"+OK in\r\n"}
    with ScriptedPop3([simple("x")], script) as server:
        account(clear, server.port, "mrose", "tanstaaf", "apop", tls="none", host="127.0.0.1")
        assert clear.fetch("acc") == 0
        digest = hashlib.md5(stamp + b"tanstaaf").hexdigest()
        assert server.heard("APOP *") == [f"APOP mrose {digest}"]
        assert clear.events("fetcherd", "login-without-tls")[0]["by"] == "APOP"
        shown = clear.ctl_json("account", "test", "acc")
        assert any("APOP" in one for one in shown["warnings"])


@pytest.mark.parametrize(
    "stamp", [b"", b"<>", b"<a@>", b"<@b>", b"<a\x80\xff@b>", b"<a b@c>", b"<a@b", b"<a@b@c>"]
)
def test_apop_wants_a_real_timestamp(clear, stamp):
    script = {"GREETING": b"+OK ready " + stamp + b"\r\n"}
    with ScriptedPop3([simple("x")], script) as server:
        account(clear, server.port, "u", "secret", "apop", tls="none", host="127.0.0.1")
        assert clear.fetch("acc") != 0
        assert "timestamp" in clear.account("acc")["error"]
        assert not server.heard("APOP *") and not server.heard("USER *")


def test_auto_takes_no_apop(trusting, authority):
    script = {"GREETING": b"+OK <1.2@pop.example>\r\n"}
    pair = authority.issue("no-apop")
    with ScriptedPop3([simple("x")], script, tls=pair, implicit=True) as server:
        account(trusting, server.port, "u", "secret", "auto")
        assert trusting.fetch("acc") == 0
        assert not server.heard("APOP *") and server.heard("PASS *")


def test_server_that_hangs_up_within_the_exchange(clear):
    script = {"AUTH CRAM-MD5": [b"+ PDFAeD4=\r\n", CLOSE]}
    with ScriptedPop3([simple("x")], script, capabilities=("SASL CRAM-MD5",)) as server:
        account(clear, server.port, "u", "secret", "auto", tls="none", host="127.0.0.1")
        assert clear.fetch("acc") != 0
        assert not server.heard("PASS *")


# --- NTLM, with Cyrus SASL -----------------------------------------------------------------


@pytest.fixture(scope="module")
def spa(place):
    if not cyrus.pop3d():
        missing("there is no cyrus-pop3d")
    with cyrus.Cyrus(place / "cyrus") as server:
        yield server


@pytest.mark.parametrize("auth", ["ntlm", "ntlmv1", "auto"])
def test_ntlm(clear, spa, smtp, auth):
    user = spa.add_user(f"ntlm-{auth}", "Geheim, 1")
    account(clear, spa.port, user, "Geheim, 1", auth, tls="none", host="127.0.0.1")
    for n in range(3):
        spa.drop(user, simple(f"number {n}"))
    assert clear.fetch("acc") == 0, clear.account("acc")["error"]
    smtp.wait_count(user, 3)
    smtp.settle()
    got = b"".join(smtp.messages(user))
    for n in range(3):  # Cyrus puts fields of its own into the header
        assert got.count(f"Subject: number {n}\n".encode()) == 1
    assert not clear.events("fetcherd", "password-in-clear")


@pytest.mark.parametrize("auth", ["ntlm", "ntlmv1"])
def test_ntlm_wrong_password(clear, spa, smtp, auth):
    user = spa.add_user(f"wrong-{auth}", "right")
    spa.drop(user, simple("kept"))
    account(clear, spa.port, user, "wrong", auth, tls="none", host="127.0.0.1")
    for _ in range(3):
        assert clear.fetch("acc") != 0
    assert "-ERR" in clear.account("acc")["error"]
    assert clear.events("fetcherd", "account-paused")
    clear.ctl_ok("account", "set", "acc", "--password-stdin", stdin="right\n")
    clear.ctl_ok("account", "enable", "acc")
    assert clear.fetch("acc") == 0
    smtp.wait_count(user, 1)  # it was kept


# --- SCRAM bound to TLS, with Cyrus SASL ---------------------------------------------------


@pytest.fixture(scope="module", params=["1.2", "1.3"])
def binding(request, place, authority):
    """Cyrus over TLS of one version. It knows tls-unique alone, which TLS 1.3 has no longer."""
    if not cyrus.pop3d():
        missing("there is no cyrus-pop3d")
    version = request.param.replace(".", "_")
    server = cyrus.Cyrus(
        place / f"cyrus-tls-{version}",
        "SCRAM-SHA-256 SCRAM-SHA-1",
        authority.issue(f"cyrus-{version}"),
        f"tls{version}",
    )
    with server:
        server.tls13 = request.param == "1.3"
        yield server


BOUND = {"auto": "SCRAM-SHA-256"}


@pytest.mark.parametrize("auth", ["scram-sha-256", "scram-sha-1", "auto"])
def test_scram_plus(trusting, binding, smtp, auth):
    """With -PLUS, on a resumed connection too; and without, where the two have no binding in common."""
    user = binding.add_user(f"plus-{auth}-{int(binding.tls13)}", PASSWORD)
    account(trusting, binding.port_tls, user, PASSWORD, auth)
    for round in (1, 2):
        binding.drop(user, simple(f"bound {round}"))
        assert trusting.fetch("acc") == 0, trusting.account("acc")["error"]
        smtp.wait_count(user, round)
    shown = trusting.ctl_json("account", "test", "acc")
    assert f"{auth.upper()}-PLUS" in shown["capabilities"][0] or auth == "auto"
    plain = BOUND.get(auth, auth.upper())
    assert shown["method"] == (plain if binding.tls13 else f"{plain}-PLUS")
    assert shown["version"] == ("TLSv1.3" if binding.tls13 else "TLSv1.2")


def test_scram_plus_wrong_password(trusting, binding):
    """It is said once, and nothing weaker follows."""
    user = binding.add_user(f"plus-wrong-{int(binding.tls13)}", PASSWORD)
    account(trusting, binding.port_tls, user, "not it", "auto")
    assert trusting.fetch("acc") != 0
    shown = trusting.events("fetcherd", "poll-failed")
    plus = "" if binding.tls13 else "-PLUS"
    assert [one["command"] for one in shown] == [f"AUTH SCRAM-SHA-256{plus}"]
    assert trusting.account("acc")["failures"] == 1


# --- one more make -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gnu(place):
    if not Mailutils.there():
        missing("mailutils-pop3d is not installed")
    with Mailutils(place / "mailutils") as server:
        yield server


def test_mailutils(clear, gnu, smtp):
    user = gnu.add_user("gnu-basic", "a secret")
    for n in range(3):
        gnu.drop("gnu-basic", simple(f"number {n}"))
    account(clear, gnu.port, user, "a secret", "basic", tls="none", host="127.0.0.1")
    assert clear.fetch("acc") == 0, clear.account("acc")["error"]
    smtp.wait_count("gnu-basic", 3)
    assert gnu.count("gnu-basic") == 0
    assert clear.events("fetcherd", "password-in-clear")


def test_mailutils_wrong_password(clear, gnu):
    user = gnu.add_user("gnu-wrong", "right")
    gnu.drop("gnu-wrong", simple("kept"))
    account(clear, gnu.port, user, "wrong", "basic", tls="none", host="127.0.0.1")
    assert clear.fetch("acc") != 0
    assert "-ERR" in clear.account("acc")["error"] and gnu.count("gnu-wrong") == 1

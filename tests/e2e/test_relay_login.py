"""Logging in to the SMTP server, and TLS to it: what arrives, what never goes out, and what is said."""

import base64
import hmac
import threading

import pytest

from tests.harness.mail import normalised, simple
from tests.harness.process import wait_for
from tests.harness.scripted import CLOSE, ScriptedSmtp

USER, PASSWORD = "popferry@corp.example", "s3cret words"


class LoginSmtp(ScriptedSmtp):
    """Takes mail from who has logged in only.  `tried` is every password or digest shown to it."""

    def __init__(self, mechanisms, password=PASSWORD, **more):
        self.mechanisms = mechanisms.split()
        self.password = password
        self.tried = []
        super().__init__(extensions=["PIPELINING", "AUTH " + mechanisms], **more)

    def do_auth(self, talk, line):
        _, name, *initial = line.split(" ")
        good = name in self.mechanisms and getattr(self, "by_" + name.lower().replace("-", "_"))(
            talk, *initial
        )
        talk.logged_in = bool(good)
        talk.send(b"235 2.7.0 welcome\r\n" if good else b"535 5.7.8 no such password\r\n")

    def ask(self, talk, challenge):
        talk.send(b"334 " + base64.b64encode(challenge) + b"\r\n")
        return base64.b64decode(talk.line())

    def by_plain(self, talk, initial):
        _, user, password = base64.b64decode(initial).decode().split("\0")
        self.tried.append(password)
        return (user, password) == (USER, self.password)

    def by_login(self, talk):
        user = self.ask(talk, b"Username:").decode()
        password = self.ask(talk, b"Password:").decode()
        self.tried.append(password)
        return (user, password) == (USER, self.password)

    def by_cram_md5(self, talk):
        challenge = b"<1896.697170952@scripted.example>"
        user, digest = self.ask(talk, challenge).decode().rsplit(" ", 1)
        self.tried.append(digest)
        return user == USER and digest == hmac.digest(self.password.encode(), challenge, "md5").hex()

    def do_mail(self, talk, line):
        if getattr(talk, "logged_in", False):
            super().do_mail(talk, line)
        else:
            talk.send(b"530 5.7.0 log in first\r\n")


def ferry_for(make_ferry, server, password=PASSWORD, waiting=0, **relay):
    """All up; `waiting` messages were in outgoing/ before relayd came."""
    ferry = make_ferry(server.port, relay={"user": USER, "host": "localhost"} | relay, start=False)
    if password is not None:
        ferry.ctl_ok("relay", "password", "--password-stdin", stdin=password + "\n")
    ferry.start("hygiene")
    for n in range(waiting):
        send(ferry, f"m{n}")
    wait_for(lambda: len(ferry.files("outgoing")) == waiting, what="outgoing/")
    ferry.start("fetcherd", "relayd")
    return ferry


def send(ferry, name="one"):
    part = ferry.spool / "pickup" / (name + ".part")
    head = b"X-Sender: <a@origin.example>\r\nX-Receiver: <b@corp.example>\r\n"
    part.write_bytes(head + normalised(simple(name)))
    part.rename(part.with_suffix(".eml"))


def arrives(server, count=1):
    wait_for(lambda: len(server.accepted) >= count, what=f"{count} messages to arrive")


def relay_error(ferry):
    return ferry.status()["relayd"]["error"] or ""


def lines(server):
    return [line for talk in server.conversations for line in talk.lines]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(
    "offered, taken", [("PLAIN LOGIN", "PLAIN"), ("LOGIN", "LOGIN"), ("PLAIN CRAM-MD5", "CRAM-MD5")]
)
def test_the_strongest_way_on_offer(make_ferry, authority, tls, offered, taken):
    certificate = authority.issue("relay")
    with LoginSmtp(offered, tls=certificate, implicit=tls == "implicit") as server:
        ferry = ferry_for(make_ferry, server, tls=tls, ca=str(authority.cert))
        send(ferry)
        arrives(server)
        said = lines(server)
        assert [line.split(" ")[1] for line in said if line.startswith("AUTH")] == [taken]
        assert said.count("EHLO " + said[0].split(" ")[1]) == (2 if tls == "starttls" else 1)
        assert PASSWORD not in ferry.log("relayd")
        assert PASSWORD.encode() not in (ferry.state / "relayd.secret").read_bytes()


def test_a_challenge_goes_without_tls_and_a_password_does_not(make_ferry):
    with LoginSmtp("PLAIN CRAM-MD5") as server:
        ferry = ferry_for(make_ferry, server)
        send(ferry)
        arrives(server)
    with LoginSmtp("PLAIN LOGIN") as server:
        ferry = ferry_for(make_ferry, server)
        wait_for(lambda: "not sent in clear" in relay_error(ferry), what="the reason")
        assert server.tried == []
        assert not [line for line in lines(server) if line.startswith("AUTH")]


def test_by_name_it_does_with_a_warning(make_ferry):
    with LoginSmtp("PLAIN LOGIN") as server:
        ferry = ferry_for(make_ferry, server, auth="login")
        send(ferry)
        arrives(server)
        assert ferry.events("relayd", "password-in-clear")


def test_a_refused_password_is_given_once_and_a_new_one_at_once(make_ferry):
    with LoginSmtp("CRAM-MD5 PLAIN LOGIN") as server:
        ferry = ferry_for(make_ferry, server, password="wrong", waiting=5)
        wait_for(lambda: ferry.events("relayd", "relay-login-refused"), what="the alarm")
        wait_for(lambda: len(ferry.queue()) == 5, what="the queue")
        event = ferry.events("relayd", "relay-login-refused")[0]
        assert event["do"] == "popferryctl relay password"
        assert int(event["again_in_ms"]) > 10_000
        assert "535 5.7.8" in relay_error(ferry)
        assert len(server.tried) == 1
        assert all(one["attempts"] == 0 for one in ferry.queue())
        ferry.ctl_ok("relay", "password", "--password-stdin", stdin=PASSWORD + "\n")
        arrives(server, 5)
        assert len(server.tried) > 1


class Echo(LoginSmtp):
    def do_auth(self, talk, line):
        talk.send(f"535 5.7.8 no: {line} ({PASSWORD})\r\n".encode())


def test_a_password_that_the_server_repeats_is_not_told_on(make_ferry):
    with Echo("PLAIN") as server:
        ferry = ferry_for(make_ferry, server, auth="plain", waiting=1)
        wait_for(lambda: ferry.events("relayd", "relay-login-refused"), what="the alarm")
        told = ferry.log("relayd") + ferry.ctl_ok("status") + str(ferry.ctl("relay", "test"))
        initial = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
        assert "535 5.7.8 no: AUTH PLAIN ****" in told
        assert PASSWORD not in told and initial not in told


def test_no_password(make_ferry):
    with LoginSmtp("CRAM-MD5") as server:
        ferry = ferry_for(make_ferry, server, password=None)
        send(ferry)
        assert "popferryctl relay password" in ferry.events("relayd", "relay-no-password")[0]["error"]
        wait_for(lambda: "there is no password" in relay_error(ferry), what="the reason")
        assert not server.conversations
        shown = ferry.ctl_json("relay")
        assert (shown["user"], shown["password"]) == (USER, False)
        ferry.ctl_ok("relay", "password", "--password-stdin", stdin=PASSWORD + "\n")
        arrives(server)
        assert ferry.ctl_json("relay")["password"] is True


def test_a_temporary_failure_is_no_refusal(make_ferry):
    with LoginSmtp("CRAM-MD5") as server:
        server.script["AUTH*"] = b"454 4.7.0 the directory is down\r\n"
        ferry = ferry_for(make_ferry, server)
        send(ferry)
        wait_for(lambda: "454 4.7.0" in relay_error(ferry), what="the reason")
        assert not ferry.events("relayd", "relay-login-refused")
        server.script.clear()
        arrives(server)


def test_hanging_up_on_a_password_is_a_refusal(make_ferry):
    with LoginSmtp("PLAIN") as server:
        server.script["AUTH PLAIN*"] = CLOSE
        ferry = ferry_for(make_ferry, server, auth="plain")
        wait_for(lambda: ferry.events("relayd", "relay-login-refused"), what="the alarm")


class SlowSmtp(LoginSmtp):
    """Answers EHLO when `go` is set."""

    def do_ehlo(self, talk, line):
        self.asked.set()
        self.go.wait(20)
        super().do_ehlo(talk, line)


def test_a_reload_keeps_the_password_from_the_server_before(make_ferry):
    """A connection that was not ready yet is dropped, whatever it would have come to."""
    with SlowSmtp("PLAIN") as before, LoginSmtp("PLAIN") as now:
        before.asked, before.go = threading.Event(), threading.Event()
        ferry = ferry_for(make_ferry, before, waiting=1, auth="plain")
        assert before.asked.wait(20)
        ferry.relay_section["port"] = now.port
        ferry.write_conf()
        ferry.reload("relayd")
        before.go.set()
        arrives(now)
        assert before.tried == [] and now.tried == [PASSWORD]


@pytest.mark.parametrize(
    "script, words",
    [
        ({"EHLO*": b"250-x\r\n250 AUTH PLAIN\r\n"}, "does not offer STARTTLS"),
        ({"STARTTLS": b"454 4.7.0 not now\r\n"}, "454 4.7.0 not now"),
        ({"STARTTLS": b"220 go\r\n250 AUTH PLAIN\r\n"}, "in clear"),
    ],
    ids=["stripped", "refused", "injected"],
)
def test_starttls_fails_closed(make_ferry, authority, script, words):
    with LoginSmtp("PLAIN", script=script, tls=authority.issue("relay")) as server:
        ferry = ferry_for(make_ferry, server, tls="starttls", ca=str(authority.cert))
        send(ferry)
        wait_for(lambda: words in relay_error(ferry), what="the reason")
        assert server.tried == [] and server.accepted == []
        wait_for(lambda: len(ferry.files("outgoing")) == 1, what="the message, which stays")


def test_certificates(make_ferry, authority):
    with LoginSmtp("PLAIN", tls=authority.issue("relay"), implicit=True) as server:
        ferry = ferry_for(make_ferry, server, tls="implicit")
        wait_for(lambda: "certificate" in relay_error(ferry), what="the reason")
        wrong = ferry_for(
            make_ferry, server, tls="implicit", ca=str(authority.cert), pin="sha256:" + "00" * 32
        )
        wait_for(lambda: "pin" in relay_error(wrong), what="the reason")
        assert server.tried == []


def test_relay_test_says_how_it_stands(make_ferry, authority):
    with LoginSmtp("PLAIN CRAM-MD5", tls=authority.issue("relay")) as server:
        ferry = ferry_for(make_ferry, server, tls="starttls", ca=str(authority.cert))
        found = ferry.ctl_json("relay", "test")
        assert (found["ok"], found["method"], found["address"]) == (True, "CRAM-MD5", "127.0.0.1")
        assert found["version"].startswith("TLSv1.") and "AUTH PLAIN CRAM-MD5" in found["capabilities"]
        assert found["certificate"]["pin"].startswith("sha256:")
        assert "All is well." in ferry.ctl_ok("relay", "test")


def test_relay_test_says_what_is_wrong(make_ferry, authority):
    with LoginSmtp("PLAIN", tls=authority.issue("relay"), implicit=True) as server:
        wary = ferry_for(make_ferry, server, tls="implicit")
        code, out, _ = wary.ctl("relay", "test", "--json")
        assert code == 1 and '"step": "connect"' in out and "certificate" in out
        ferry = ferry_for(make_ferry, server, "wrong", tls="implicit", ca=str(authority.cert))
        code, out, _ = ferry.ctl("relay", "test")
        assert code == 1 and "It failed at login: AUTH PLAIN: the server said: 535 5.7.8" in out
        nobody = ferry_for(make_ferry, server, None, tls="implicit", ca=str(authority.cert))
        code, out, _ = nobody.ctl("relay", "test")
        assert code == 1 and "popferryctl relay password" in out.replace("\n", " ")
